"""Failures by what they have in common, and tasks by how they run."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext as _

from dj_queue.admin.actions import actions_for
from dj_queue.admin.page import Page
from dj_queue.admin.queries import spans
from dj_queue.admin.queries.failures import WINDOW, find_samples, grouped, read_failures
from dj_queue.admin.sections import section
from dj_queue.models.statistics import OTHER_TASKS
from dj_queue.reads import throughput
from dj_queue.reads.throughput import Throughput
from dj_queue.states import JobState

_GROUPS: dict[str, Any] = {
    "error": lambda row: row.error,
    "task": lambda row: row.task_path,
    "count": lambda row: row.count,
    "hour": lambda row: row.last_hour,
    "day": lambda row: row.last_day,
    "last": lambda row: row.last_at,
}

_TASKS: dict[str, Any] = {
    "task": lambda row: row.path,
    "runs": lambda row: row.ended.ended,
    "failed": lambda row: row.failed_percent,
    "retried": lambda row: row.ended.retried,
    "p50": lambda row: row.p50 or 0,
    "p95": lambda row: row.p95 or 0,
    "wait": lambda row: row.wait_p95 or 0,
    "total": lambda row: row.ended.durations.seconds,
}


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task and what ended of it."""

    path: str
    ended: Throughput

    @property
    def short(self) -> str:
        """The last part of the path."""
        return str(_("other tasks")) if self.path == OTHER_TASKS else self.path.rpartition(".")[2]

    @property
    def failed_percent(self) -> float:
        """Failed ones among 100 attempts."""
        return 100 * self.ended.failed / self.ended.ended if self.ended.ended else 0.0

    @property
    def p50(self) -> float | None:
        """Seconds within which half of the attempts ended."""
        return self.ended.durations.quantile(0.5)

    @property
    def p95(self) -> float | None:
        """Seconds within which 19 of 20 attempts ended."""
        return self.ended.durations.quantile(0.95)

    @property
    def wait_p95(self) -> float | None:
        """Seconds within which 19 of 20 jobs began."""
        return self.ended.waits.quantile(0.95)


def failures(page: Page) -> HttpResponse:
    """`dj_queue_dashboard_failures`."""
    found = read_failures(page.config, page.aware_now)
    groups = section("failures", grouped(found.counts), _GROUPS, page.request.GET, size=50)
    find_samples(page.database, groups.rows)
    context = {
        "groups": groups,
        "window": WINDOW,
        "is_capped": found.is_capped,
        "count": found.total,
        "group_actions": [each for each in actions_for(JobState.FAILED) if page.may(each.name)],
        "action_url": page.url("jobs_action"),
    }
    return page.render("failures", "failures", _("Failures"), context)


def tasks(page: Page) -> HttpResponse:
    """`dj_queue_dashboard_tasks`."""
    span = spans.chosen(page.request.GET.get("span"))
    found = throughput.by_task(page.database, page.config.alias, page.aware_now - span.length)
    busiest = sorted(found.items(), key=lambda item: -item[1].ended)
    rows = section("tasks", [TaskRow(*item) for item in busiest], _TASKS, page.request.GET, size=50)
    links = []
    for name in spans.SPANS:
        query = page.request.GET.copy()
        query["span"] = name
        links.append({"name": name, "url": f"?{query.urlencode()}", "is_here": name == span.name})
    context = {"tasks": rows, "span": span, "spans": links}
    return page.render("tasks", "tasks", _("Tasks"), context)
