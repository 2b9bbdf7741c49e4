"""Queues and states in numbers, together with who works for them; see `dj_queue.admin.queries.counting`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from django.db.models import DateTimeField, Value

from dj_queue.admin.queries import counting
from dj_queue.admin.queries.failures import Failures, read_failures
from dj_queue.config import BackendConfig
from dj_queue.models import PastPause, Pause, Process, RecurringTask
from dj_queue.reads.queues import seconds_waited
from dj_queue.selectors import parse_selectors
from dj_queue.states import JobState
from dj_queue.store import store_for
from dj_queue.store.shared import from_column
from dj_queue.wording import NONE, Count


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


@dataclass(slots=True)
class Backlog:
    """All that waits, runs or failed on one backend."""

    now: datetime
    queues: list[QueueLine]
    failures: Failures
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


def read_backlog(config: BackendConfig, now: datetime, queue_name: str | None = None) -> Backlog:
    """Everything at once, in about ten statements, however many queues and jobs there are.

    *now* is the database's clock. Of one queue only, if it is named.
    """
    database, alias = config.options.database_alias, config.alias
    threshold = timedelta(seconds=config.options.process_alive_threshold)
    processes = read_processes(config)
    recurring = _read_recurring(config) if queue_name is None else []
    paused, pauses = _read_pauses(config)
    failures, running = read_failures(config, now), counting.running(config)
    if queue_name is None:
        names = store_for(database).waiting_queues(alias)
        names.update(running, paused, failures.by_queue, (row.queue_name for row in recurring))
    else:
        names = {queue_name}
    lines = {name: QueueLine(name, paused_since=paused.get(name)) for name in sorted(names)}
    counted = counting.waiting(config, lines)
    for (state, name), count in counted.items():
        setattr(lines[name], state, count)
    for state, found in ((JobState.CLAIMED, running), (JobState.FAILED, failures.by_queue)):
        for name in lines.keys() & found:
            setattr(lines[name], state, found[name])
    _find_waits(config, lines, now, pauses)
    live = [row for row in processes if is_live(row, now, threshold)]
    _count_workers(lines.values(), live)
    return Backlog(now, list(lines.values()), failures, processes, threshold, recurring)


def read_processes(config: BackendConfig) -> list[Process]:
    """The processes of the backend and their parts, the oldest first."""
    rows = Process.objects.using(config.options.database_alias)
    return list(rows.filter(backend_alias=config.alias).order_by("id"))


def _read_recurring(config: BackendConfig) -> list[RecurringTask]:
    rows = RecurringTask.objects.using(config.options.database_alias)
    return list(rows.filter(backend_alias=config.alias).order_by("key"))


type _Periods = dict[str, list[tuple[datetime, datetime]]]


def _read_pauses(config: BackendConfig) -> tuple[dict[str, datetime], _Periods]:
    """Since when queues are paused, and when they were before. One statement.

    Of past pauses there are only those that jobs which wait may have gone through.
    """
    database = config.options.database_alias
    present = Pause.objects.using(database).filter(backend_alias=config.alias)
    past = PastPause.objects.using(database).filter(backend_alias=config.alias)
    open_end = Value(None, output_field=DateTimeField())
    rows = present.values_list("queue_name", "created_at", open_end).union(
        past.values_list("queue_name", "paused_at", "resumed_at"), all=True
    )
    paused: dict[str, datetime] = {}
    periods: _Periods = {}
    for name, start, end in rows:
        if end is None:
            paused[name] = start
        else:
            periods.setdefault(name, []).append((_aware(start), _aware(end)))
    return paused, periods


def _find_waits(
    config: BackendConfig, lines: Mapping[str, QueueLine], now: datetime, pauses: _Periods
) -> None:
    oldest = counting.oldest_ready(
        config, {name: line.ready for name, line in lines.items() if line.ready}
    )
    for name, since in oldest.items():
        if lines[name].paused_since is None:
            lines[name].wait = seconds_waited(since, now, pauses.get(name, ()))


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
