"""Lists of jobs by state, with filters that are in the address, so that a list can be bookmarked."""

from typing import Any

from django.http import Http404, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dj_queue.admin.actions import actions_for
from dj_queue.admin.page import Page
from dj_queue.admin.queries.backlog import Backlog, read_backlog
from dj_queue.admin.queries.filters import ALL, STATES, JobFilter
from dj_queue.admin.queries.job_list import WINDOW, JobPage, job_page
from dj_queue.states import JobState

# What can be narrowed down by, and in which states that makes sense.
_FIELDS = (
    ("queue", gettext_lazy("Queue"), STATES),
    ("task", gettext_lazy("Task (or the beginning and *)"), STATES),
    ("error", gettext_lazy("Error class"), (JobState.FAILED,)),
    ("worker", gettext_lazy("Worker"), (JobState.CLAIMED,)),
    ("key", gettext_lazy("Concurrency key"), STATES),
    ("recurring", gettext_lazy("Recurring task"), STATES),
    ("priority", gettext_lazy("Priority"), STATES),
    ("since", gettext_lazy("Enqueued from"), STATES),
    ("until", gettext_lazy("Enqueued before"), STATES),
    ("id", gettext_lazy("Id"), STATES),
)


def jobs(page: Page) -> HttpResponse:
    """`dj_queue_dashboard_jobs`, and the change list of jobs; 404 for a state that there is not."""
    try:
        wanted = JobFilter.read(page.request.GET.dict())
    except ValueError as error:
        raise Http404(str(error)) from None
    backlog = read_backlog(page.config, page.aware_now)
    return page.render("jobs", "jobs", _("Jobs"), job_table(page, wanted, backlog))


def job_table(
    page: Page, wanted: JobFilter, backlog: Backlog, *, queue_name: str | None = None
) -> dict[str, Any]:
    """What the template with the table of jobs needs; the queue is not asked for if it is *queue_name*'s."""
    found = _found(page, wanted)
    return {
        "filter": wanted,
        "filter_fields": [
            {"name": name, "label": label, "value": getattr(wanted, name)}
            for name, label, states in _FIELDS
            if (wanted.state in states or getattr(wanted, name))
            and not (name == "queue" and queue_name is not None)
        ],
        "filter_problems": wanted.problems,
        "jobs": found,
        "next_url": _address(page, wanted, queue_name, after=found.after) if found.after else "",
        "first_url": _address(page, wanted, queue_name) if page.request.GET.get("after") else "",
        "window": WINDOW,
        "tabs": _tabs(page, wanted, backlog, queue_name),
        "actions": [each for each in actions_for(wanted.state) if page.may(each.name)],
        "reaches_all": [
            each
            for each in actions_for(wanted.state)
            if page.may(each.name) and each.reaches_all and not wanted.id
        ],
        "action_url": page.url("job_action", queue_name) if queue_name else page.url("jobs_action"),
    }


def _found(page: Page, wanted: JobFilter) -> JobPage:
    if wanted.problems:
        return JobPage([], "", 0, is_window_used_up=False)
    return job_page(page.config, wanted, page.request.GET.get("after", ""))


def _tabs(
    page: Page, wanted: JobFilter, backlog: Backlog, queue_name: str | None
) -> list[dict[str, Any]]:
    tabs = []
    for state in STATES:
        if state in (ALL, JobState.FINISHED):
            count = ""
        elif queue_name is not None:
            count = str(getattr(backlog.queue(queue_name), state))
        else:
            count = str(backlog.total(state))
        other = JobFilter.read({**wanted.query, "state": state})
        tabs.append(
            {
                "state": state,
                "count": count,
                "url": _address(page, other, queue_name),
                "is_here": state == wanted.state,
            }
        )
    return tabs


def _address(page: Page, wanted: JobFilter, queue_name: str | None, **more: str) -> str:
    query = page.request.GET.copy()
    for name in (*JobFilter.__slots__, "after"):
        query.pop(name, None)
    for name, value in {**wanted.query, "state": wanted.state, **more}.items():
        query[name] = value
    if queue_name is not None:
        # It is in the path.
        query.pop("queue", None)
    return f"?{query.urlencode()}"
