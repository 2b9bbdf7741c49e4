"""The strip of a recurring task: a dot for each of its last firings, which leads to the job.

Made here and not by a template: a page has a thousand dots. With each of them as nodes of a template the page
took 117 ms of CPU time, and takes 70 so (`benchmarks/observability.py`, Python 3.13).
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from dj_queue.admin.page import Page
from dj_queue.wording import exactly

type Firing = Mapping[str, Any]
"""`run_at`, `job_id` and `outcome`."""

_OUTCOMES = {
    "finished": _("ended well"),
    "failed": _("failed"),
    "open": _("has not ended"),
    "gone": _("the job is not there any more"),
}

# Stands where an id goes in an address.
_SOME_JOB = UUID(int=0)


class Strips:
    """Makes the strips of one page."""

    def __init__(self, page: Page) -> None:
        self._job_url = page.url("admin:dj_queue_job_change", _SOME_JOB)
        self._names = {outcome: str(name) for outcome, name in _OUTCOMES.items()}
        # Tasks with the same schedule fire at the same times.
        self._at = lru_cache(maxsize=None)(exactly)

    def strip(self, firings: Iterable[Firing]) -> SafeString:
        """The dots of *firings*, in their order."""
        return format_html_join("", "{}", ((self._dot(firing),) for firing in firings))

    def _dot(self, firing: Firing) -> SafeString:
        outcome, job_id = firing["outcome"], firing["job_id"]
        name = self._names[outcome]
        shown = (outcome, self._at(firing["run_at"]), name, name)
        if job_id is None:
            return format_html(
                '<span class="djq-dot djq-dot-{}" title="{}: {}"><span class="djq-hidden">{}</span></span>',
                *shown,
            )
        return format_html(
            '<a href="{}" class="djq-dot djq-dot-{}" title="{}: {}"><span class="djq-hidden">{}</span></a>',
            self._job_url.replace(str(_SOME_JOB), str(job_id)),
            *shown,
        )
