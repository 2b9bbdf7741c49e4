"""Pages that are stopped before they hold up the database: who asks is told to ask for less."""

from collections.abc import Callable

from django.db import OperationalError
from django.http import HttpResponse
from django.template.response import SimpleTemplateResponse
from django.utils.translation import gettext as _

from dj_queue.admin.page import Page
from dj_queue.admin.queries import counting
from dj_queue.store.time_limits import is_over_time, limited_time

SECONDS = 2.0
"""For each statement of a page that is only looked at."""


def within_time(page: Page, name: str, answer: Callable[[], HttpResponse]) -> HttpResponse:
    """What *answer* gives; a notice under *name* in the navigation when a statement took too long.

    A request that changes something has all the time that it needs: half an action helps nobody.
    """
    if page.request.method not in ("GET", "HEAD"):
        try:
            return answer()
        finally:
            # So that who cleared a queue does not see it full for another few seconds.
            counting.forget()
    try:
        with limited_time(page.database, SECONDS):
            return answer()
    except OperationalError as error:
        if not is_over_time(error):
            raise
        context = {"seconds": SECONDS, "is_narrowed": bool(page.request.GET.keys() - {"backend"})}
        # Not 500: nothing is broken. A page that refreshes itself keeps what it shows, and tries again later.
        return page.render("too_slow", name, _("Too slow"), context, status=503)


def rendered(response: HttpResponse) -> HttpResponse:
    """*response* with its text: Django's lists ask the database while their templates are rendered."""
    if isinstance(response, SimpleTemplateResponse) and not response.is_rendered:
        response.render()
    return response
