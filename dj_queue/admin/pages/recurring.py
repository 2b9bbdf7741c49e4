"""Recurring tasks: what is due next, what came of it, and what can be done about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from django.db.models import OuterRef, Q, Subquery
from django.http import HttpResponse
from django.utils.translation import gettext as _

from dj_queue.admin.page import Page
from dj_queue.admin.schedule_words import in_words
from dj_queue.admin.sections import Section, section
from dj_queue.admin.strips import Firing, Strips
from dj_queue.exceptions import InvalidSchedule
from dj_queue.models import RecurringExecution, RecurringTask
from dj_queue.schedule import parse
from dj_queue.store.shared import django_time, from_column

_COLUMNS: dict[str, Any] = {
    "key": lambda row: row.task.key,
    "task": lambda row: row.task.task_path,
    "queue": lambda row: row.task.queue_name,
    "next": lambda row: (row.task.next_run_at is None, str(row.task.next_run_at)),
    "enabled": lambda row: row.task.enabled,
}

STRIP = 20
"""Firings of a task that its strip shows."""

AHEAD = 3
"""Times of a task that are told in advance."""


@dataclass(slots=True)
class RecurringRow:
    """A recurring task and its last firings, the newest first."""

    task: RecurringTask
    firings: list[Firing] = field(default_factory=list)
    strip: str = ""
    """Their dots, the oldest first."""

    @property
    def last_at(self) -> Any:
        """When it fired last, as far as is kept."""
        return self.firings[0]["run_at"] if self.firings else None

    @property
    def words(self) -> str:
        """Its schedule as a sentence; empty where there is none for it."""
        return in_words(self.task.schedule, self.task.timezone)

    @property
    def later(self) -> list[datetime]:
        """The times after the next one."""
        return upcoming(self.task)[1:]


def upcoming(task: RecurringTask, count: int = AHEAD) -> list[datetime]:
    """The next *count* times of *task*, as models have times; none where it is off or has none."""
    if not task.enabled or task.next_run_at is None:
        return []
    found = [cast("datetime", from_column(task.next_run_at))]
    try:
        schedule = parse(task.schedule, task.timezone)
        while len(found) < count:
            found.append(schedule.next(found[-1]))
    except InvalidSchedule:
        # It ends, or was written by a version that knows more.
        pass
    return [cast("datetime", django_time(each)) for each in found]


def recurring_section(
    page: Page, tasks: list[RecurringTask], *, size: int
) -> Section[RecurringRow]:
    """The table of recurring tasks; the next ones to fire come first where nobody sorts."""
    ordered = sorted(
        tasks, key=lambda task: (not task.enabled, task.next_run_at is None, str(task.next_run_at))
    )
    rows = [RecurringRow(task) for task in ordered]
    return section("recurring", rows, _COLUMNS, page.request.GET, size=size)


def recurring(page: Page) -> HttpResponse:
    """`dj_queue_dashboard_recurring`."""
    tasks = list(
        RecurringTask.objects.using(page.database)
        .filter(backend_alias=page.config.alias)
        .order_by("key")
    )
    rows = recurring_section(page, tasks, size=50)
    _give_firings(page, rows.rows)
    strips = Strips(page)
    for row in rows.rows:
        row.strip = strips.strip(reversed(row.firings))
    fires_dynamic = page.config.options.scheduler.dynamic_tasks_enabled
    has_sleeping = not fires_dynamic and any(not task.static for task in tasks)
    context = {"recurring": rows, "has_sleeping": has_sleeping, "strip": STRIP}
    return page.render("recurring", "recurring", _("Recurring tasks"), context)


def _give_firings(page: Page, rows: Sequence[RecurringRow]) -> None:
    """The newest firings of each task, however often the others fire. Two statements."""
    by_key = {row.task.key: row for row in rows}
    executions = RecurringExecution.objects.using(page.database).filter(
        backend_alias=page.config.alias
    )
    # The unique index leads to the last one that is shown. Nothing is numbered, and nothing else is read.
    oldest = executions.filter(task_key=OuterRef("key")).order_by("-run_at").values("run_at")
    since = dict(
        RecurringTask.objects.using(page.database)
        .filter(backend_alias=page.config.alias, key__in=by_key)
        .values_list("key", Subquery(oldest[STRIP - 1 : STRIP]))
    )
    wanted = Q()
    for key, run_at in since.items():
        wanted |= Q(task_key=key) if run_at is None else Q(task_key=key, run_at__gte=run_at)
    if not wanted:
        return
    for found in (
        executions.filter(wanted)
        .order_by("-run_at")
        .values("task_key", "run_at", "job_id", "job__finished_at", "job__failed_execution__id")
    ):
        by_key[found["task_key"]].firings.append({**found, "outcome": _outcome(found)})


def _outcome(row: Mapping[str, Any]) -> str:
    if row["job_id"] is None:
        return "gone"
    if row["job__failed_execution__id"] is not None:
        return "failed"
    return "finished" if row["job__finished_at"] is not None else "open"
