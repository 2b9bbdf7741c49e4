"""Recurring tasks: what is due next, what came of it, and what can be done about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext as _

from dj_queue.admin.page import Page
from dj_queue.admin.sections import Section, section
from dj_queue.models import RecurringExecution, RecurringTask

_COLUMNS: dict[str, Any] = {
    "key": lambda row: row.task.key,
    "task": lambda row: row.task.task_path,
    "queue": lambda row: row.task.queue_name,
    "next": lambda row: (row.task.next_run_at is None, str(row.task.next_run_at)),
    "enabled": lambda row: row.task.enabled,
}

# Firings that the strip of a task shows, and how many of the newest are looked at for all of them.
_STRIP = 12
_NEWEST = 1000


@dataclass(slots=True)
class RecurringRow:
    """A recurring task and its last firings, the newest first."""

    task: RecurringTask
    firings: list[dict[str, Any]]

    @property
    def last_at(self) -> Any:
        """When it fired last, as far as the newest firings tell."""
        return self.firings[0]["run_at"] if self.firings else None


def recurring_section(
    page: Page,
    tasks: list[RecurringTask],
    *,
    size: int,
    firings: dict[str, list[Any]] | None = None,
) -> Section[RecurringRow]:
    """The table of recurring tasks; the next ones to fire come first where nobody sorts."""
    ordered = sorted(
        tasks, key=lambda task: (not task.enabled, task.next_run_at is None, str(task.next_run_at))
    )
    rows = [RecurringRow(task, (firings or {}).get(task.key, [])) for task in ordered]
    return section("recurring", rows, _COLUMNS, page.request.GET, size=size)


def recurring(page: Page) -> HttpResponse:
    """`dj_queue_dashboard_recurring`."""
    tasks = list(
        RecurringTask.objects.using(page.database)
        .filter(backend_alias=page.config.alias)
        .order_by("key")
    )
    rows = recurring_section(page, tasks, size=50, firings=_firings(page))
    fires_dynamic = page.config.options.scheduler.dynamic_tasks_enabled
    has_sleeping = not fires_dynamic and any(not task.static for task in tasks)
    context = {"recurring": rows, "has_sleeping": has_sleeping}
    return page.render("recurring", "recurring", _("Recurring tasks"), context)


def _firings(page: Page) -> dict[str, list[Any]]:
    rows = (
        RecurringExecution.objects.using(page.database)
        .order_by("-id")
        .values(
            "backend_alias",
            "task_key",
            "run_at",
            "job_id",
            "job__finished_at",
            "job__failed_execution__id",
        )[:_NEWEST]
    )
    found: dict[str, list[Any]] = {}
    for row in rows:
        if row["backend_alias"] != page.config.alias:
            continue
        strip = found.setdefault(row["task_key"], [])
        if len(strip) < _STRIP:
            strip.append({**row, "outcome": _outcome(row)})
    return found


def _outcome(row: Mapping[str, Any]) -> str:
    if row["job_id"] is None:
        return "gone"
    if row["job__failed_execution__id"] is not None:
        return "failed"
    return "finished" if row["job__finished_at"] is not None else "open"
