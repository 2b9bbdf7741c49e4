"""Polls of a page that is kept live: answered with 304 where its live parts are as they were.

Two answers are the same if their live parts tell the same. What differs in each answer tells nothing: tokens
of forms, and how long ago something was by now. So a page on which nothing happens is not sent and not
replaced, but for once a minute, or its "3 s ago" would stand for hours.
"""

import hashlib
import re
import time

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response

HEADER = "X-DjQ-Live"
"""What the script of the dashboard sends with its polls."""

_MINUTE = 60

# Live parts are sections or navigations, and none has another of its kind in it.
_LIVE = re.compile(rb"<(section|nav)\b[^>]*\bdata-djq-live\b.*?</\1>", re.DOTALL)
_TOKEN = re.compile(rb'(name="csrfmiddlewaretoken" value=")[^"]*')
_AGO = re.compile(rb"(<time\b[^>]*>)[^<]*")


def is_poll(request: HttpRequest) -> bool:
    """Whether the script of the dashboard asks, to bring a page up to date that is shown already."""
    return HEADER in request.headers


def unless_known(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """*response* with an `ETag`, or 304 if *request* says that it has the same already."""
    if response.status_code != 200:
        return response
    etag = etag_of(response.content, time.time())
    response["ETag"] = etag
    found = get_conditional_response(request, etag=etag, response=response)
    return response if found is None else found


def etag_of(content: bytes, now: float) -> str:
    """What is the same for all answers that tell the same in the minute of *now*, seconds since 1970.

    Weak, since their bytes differ.
    """
    live = b"".join(match[0] for match in _LIVE.finditer(content))
    digest = hashlib.sha256(_AGO.sub(rb"\1", _TOKEN.sub(rb"\1", live)))
    digest.update(str(now // _MINUTE).encode())
    return f'W/"{digest.hexdigest()[:32]}"'
