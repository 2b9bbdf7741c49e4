"""Why a job does not run, with links to where that can be seen, and mostly changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from dj_queue.admin.page import Page
from dj_queue.admin.queries.job_list import JobRow
from dj_queue.reads import explain
from dj_queue.reads.explanation import Explanation
from dj_queue.states import JobState

_OF_QUEUE = ("paused", "queue_not_served", "executor_not_served", "workers_busy", "in_turn")
_OF_PROCESSES = (
    "no_worker",
    "queue_not_served",
    "no_leader",
    "leader_stuck",
    "worker_lost",
    "dispatcher_behind",
    "clock_differs",
)

# The jobs that are in the way: those that hold the slots, or run longest.
_JOBS = ("held_by", "oldest")


@dataclass(frozen=True, slots=True)
class Link:
    """To another page."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Why:
    """What the page of a job says of it."""

    sentence: str
    remedy: str
    is_waiting: bool
    """Whether the job is to run one day without anybody's order."""
    links: tuple[Link, ...]


def why(page: Page, row: JobRow) -> Why | None:
    """None for a job that runs, or has run."""
    if row.state == JobState.FINISHED:
        return None
    found = explain.explain(page.config, row.job.pk)
    # Claimed by a process that is lost is not running, whatever its state says.
    if found.code in ("running", "finished"):
        return None
    return Why(found.sentence, found.remedy, found.code != "failed", tuple(_links(page, found)))


def _links(page: Page, found: Explanation) -> Iterator[Link]:
    details: dict[str, Any] = dict(found.details)
    if found.code in _OF_QUEUE and found.queue_name is not None:
        label = _("Queue %(name)s") % {"name": found.queue_name}
        yield Link(label, page.url("queue", found.queue_name))
    if found.code in _OF_PROCESSES:
        yield Link(_("Processes"), page.url("processes"))
    if key := details.get("concurrency_key"):
        yield Link(_("Concurrency key %(key)s") % {"key": key}, page.url("limits", q=key))
    for job_id in (each for name in _JOBS for each in details.get(name, ())):
        if url := page.object_url("job", job_id):
            yield Link(_("Job …%(end)s") % {"end": job_id[-8:]}, url)
