"""Queues and states in numbers, none of which is counted beyond a limit.

Ready jobs are counted queue by queue, each as far as `CAP` rows of an index. The other states have no index
by queue: the first rows of the table are read, `WINDOW` at the most, and counted here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

from django.db import connections
from django.db.models import QuerySet

from dj_queue.config import BackendConfig
from dj_queue.models import (
    BlockedExecution,
    ClaimedExecution,
    FailedExecution,
    PastPause,
    Pause,
    Process,
    ReadyExecution,
    RecurringTask,
    ScheduledExecution,
)
from dj_queue.reads.queues import seconds_waited
from dj_queue.selectors import parse_selectors
from dj_queue.states import JobState
from dj_queue.store import store_for
from dj_queue.store.shared import django_time, from_column
from dj_queue.wording import NONE, Count, counted

CAP = 10_000
"""Ready jobs that are counted of each queue, in the index alone."""

WINDOW = 5000
"""Scheduled, blocked and running jobs that are read."""

FAILED_WINDOW = 2000
"""Failed jobs that are read; each costs a look at its job."""

NEXT = 1000
"""Ready jobs of each queue among which the oldest is looked for: the next ones to be claimed."""

# Queues whose ready jobs are counted with one statement.
_QUEUES_AT_ONCE = 50


@dataclass(slots=True)
class QueueLine:
    """One queue in the table of queues."""

    name: str
    ready: Count = NONE
    scheduled: Count = NONE
    claimed: Count = NONE
    blocked: Count = NONE
    failed: Count = NONE
    paused_since: datetime | None = None
    wait: float | None = None
    """Seconds that the oldest of the jobs next in turn has waited; None without any, or while paused."""
    workers: int = 0
    capacity: int = 0
    """Jobs that its workers run at once at the most, together with those of the other queues they serve."""
    oldest_scheduled_at: datetime | None = None
    blocked_until: datetime | None = None

    @property
    def is_unserved(self) -> bool:
        """Whether jobs wait and nobody works here."""
        return bool(self.ready) and not self.workers and self.paused_since is None

    @property
    def latency(self) -> float:
        """`wait`, for sorting."""
        return self.wait or 0.0


class Failure(NamedTuple):
    """What the overview and the page of failures need of a failed job."""

    job_id: Any
    task_path: str
    queue_name: str
    error: str
    failed_at: datetime
    retry_at: datetime | None


@dataclass(slots=True)
class Backlog:
    """All that waits, runs or failed on one backend."""

    now: datetime
    queues: list[QueueLine]
    failures: list[Failure]
    """The newest, `FAILED_WINDOW` at the most."""
    are_failures_capped: bool
    processes: list[Process]
    threshold: timedelta
    recurring: list[RecurringTask] = field(default_factory=list)

    def total(self, state: str) -> Count:
        """Jobs in *state* in all queues."""
        return sum((getattr(line, state) for line in self.queues), NONE)

    @property
    def live(self) -> list[Process]:
        """Processes and parts of them with a recent sign of life."""
        return [row for row in self.processes if is_live(row, self.now, self.threshold)]

    def queue(self, name: str) -> QueueLine:
        """The line of the queue called *name*, also when nothing is known of it."""
        return next((line for line in self.queues if line.name == name), QueueLine(name))


def is_live(row: Process, now: datetime, threshold: timedelta) -> bool:
    """Whether a process gave a sign of life since *threshold* before *now*."""
    return now - _aware(row.last_heartbeat_at) <= threshold


def read_backlog(config: BackendConfig) -> Backlog:
    """Everything at once, in about ten statements, however many queues and jobs there are."""
    database, alias = config.options.database_alias, config.alias
    now = store_for(database).now()
    threshold = timedelta(seconds=config.options.process_alive_threshold)
    failures, is_capped = newest_failures(config)
    recurring = list(
        RecurringTask.objects.using(database).filter(backend_alias=alias).order_by("key")
    )
    processes = list(Process.objects.using(database).filter(backend_alias=alias).order_by("id"))
    pauses = dict(
        Pause.objects.using(database)
        .filter(backend_alias=alias)
        .values_list("queue_name", "created_at")
    )
    windows = _windows(config)
    names = store_for(database).waiting_queues(alias)
    names.update(*windows.values(), pauses)
    names.update(row.queue_name for row in recurring)
    names.update(row.queue_name for row in failures)
    lines = {name: QueueLine(name, paused_since=pauses.get(name)) for name in sorted(names)}
    _count_windows(lines, windows, failures, is_capped=is_capped)
    _count_ready(config, lines, now)
    live = [row for row in processes if is_live(row, now, threshold)]
    _count_workers(lines.values(), live)
    return Backlog(now, list(lines.values()), failures, is_capped, processes, threshold, recurring)


def newest_failures(config: BackendConfig) -> tuple[list[Failure], bool]:
    """The newest failed jobs of the backend, and whether there are more than were read."""
    rows = (
        FailedExecution.objects.using(config.options.database_alias)
        .order_by("-created_at", "-id")
        .values_list(
            "job__backend_alias",
            "job_id",
            "job__task_path",
            "job__queue_name",
            "exception_class",
            "created_at",
            "retry_at",
        )[: FAILED_WINDOW + 1]
    )
    found = list(rows)
    mine = [
        Failure(job_id, task_path, queue_name, error, _aware(failed_at), from_column(retry_at))
        for backend, job_id, task_path, queue_name, error, failed_at, retry_at in found[
            :FAILED_WINDOW
        ]
        if backend == config.alias
    ]
    return mine, len(found) > FAILED_WINDOW


def _windows(config: BackendConfig) -> dict[str, Counter[str]]:
    """Jobs by queue in the states that are not counted by an index; the first `WINDOW` rows of each."""
    database = config.options.database_alias
    scheduled = ScheduledExecution.objects.using(database).filter(backend_alias=config.alias)
    blocked = BlockedExecution.objects.using(database).order_by("id")
    claimed = ClaimedExecution.objects.using(database).order_by("id")
    asked: dict[str, QuerySet[Any, tuple[Any, ...]]] = {
        JobState.SCHEDULED: scheduled.order_by("scheduled_at").values_list(
            "backend_alias", "queue_name"
        ),
        JobState.BLOCKED: blocked.values_list("backend_alias", "queue_name"),
        JobState.CLAIMED: claimed.values_list("job__backend_alias", "job__queue_name"),
    }
    return {
        state: Counter(name for backend, name in rows[: WINDOW + 1] if backend == config.alias)
        for state, rows in asked.items()
    }


def _count_windows(
    lines: Mapping[str, QueueLine],
    windows: Mapping[str, Counter[str]],
    failures: Sequence[Failure],
    *,
    is_capped: bool,
) -> None:
    for state, numbers in windows.items():
        is_full = numbers.total() > WINDOW
        for name, number in numbers.items():
            setattr(lines[name], state, Count(min(number, WINDOW), is_capped=is_full))
    for name, number in Counter(each.queue_name for each in failures).items():
        lines[name].failed = Count(number, is_capped=is_capped)


def _count_ready(config: BackendConfig, lines: Mapping[str, QueueLine], now: datetime) -> None:
    oldest: dict[str, datetime] = {}
    names = list(lines)
    for start in range(0, len(names), _QUEUES_AT_ONCE):
        some = names[start : start + _QUEUES_AT_ONCE]
        for name, number, since in _ready(config, some):
            lines[name].ready = counted(number, CAP)
            if since is not None:
                oldest[name] = since
    pauses = _past_pauses(config, oldest)
    for name, since in oldest.items():
        if lines[name].paused_since is None:
            lines[name].wait = seconds_waited(since, now, pauses.get(name, ()))


# A derived table with a LIMIT of its own is what all four databases stop counting at.
_READY = """SELECT {place}, (
    SELECT COUNT(*) FROM (
        SELECT 1 AS one FROM dj_queue_ready_executions
        WHERE backend_alias = %s AND queue_name = %s LIMIT {limit}
    ) AS counted_{place}
), (
    SELECT MIN(since) FROM (
        SELECT COALESCE(latency_started_at, created_at) AS since FROM dj_queue_ready_executions
        WHERE backend_alias = %s AND queue_name = %s LIMIT {next}
    ) AS next_{place}
)"""


def _ready(
    config: BackendConfig, names: Sequence[str]
) -> Iterable[tuple[str, int, datetime | None]]:
    """Of each queue with ready jobs: its name, how many (to `CAP` + 1), and since when the oldest waits."""
    connection = connections[config.options.database_alias]
    parts = [_READY.format(limit=CAP + 1, next=NEXT, place=place) for place in range(len(names))]
    values = [value for name in names for value in (config.alias, name) * 2]
    converters = connection.ops.get_db_converters(
        ReadyExecution._meta.get_field("created_at").get_col("x")  # noqa: SLF001
    )
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), values)
        rows = cursor.fetchall()
    for place, number, since in rows:
        for convert in converters:
            since = convert(since, None, connection)
        if number:
            yield names[int(place)], number, from_column(since)


def _past_pauses(
    config: BackendConfig, oldest: Mapping[str, datetime]
) -> dict[str, list[tuple[datetime, datetime]]]:
    found: dict[str, list[tuple[datetime, datetime]]] = {}
    if not oldest:
        return found
    rows = PastPause.objects.using(config.options.database_alias).filter(
        backend_alias=config.alias,
        queue_name__in=list(oldest),
        resumed_at__gt=django_time(min(oldest.values())),
    )
    for name, start, end in rows.values_list("queue_name", "paused_at", "resumed_at")[:WINDOW]:
        period = (_aware(start), _aware(end))
        found.setdefault(name, []).append(period)
    return found


def _count_workers(lines: Iterable[QueueLine], live: Iterable[Process]) -> None:
    workers = [
        (parse_selectors(str(row.metadata.get("queues") or "*").split(",")), room(row))
        for row in live
        if row.kind == "Worker"
    ]
    for line in lines:
        rooms = [size for selection, size in workers if selection.matches(line.name)]
        line.workers, line.capacity = len(rooms), sum(rooms)


def _aware(moment: datetime) -> datetime:
    return cast("datetime", from_column(moment))


def room(row: Process) -> int:
    """How many `def` tasks a worker runs at once."""
    threads = row.metadata.get("threads", 0)
    return threads if isinstance(threads, int) else 0
