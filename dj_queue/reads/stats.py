"""A backend at one moment, in records: its queues, processes, recurring tasks, limits and failures.

What `stats.json`, the metrics and the dashboard show. A fixed number of statements for each backend (and
one for about thirty queues), none of which reads a table that grows with the number of jobs: see
`dj_queue.reads.counts` for what is counted, what is estimated, and how.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from django.db.models import Count, OuterRef, Subquery

from dj_queue.config import BackendConfig
from dj_queue.models import (
    Leadership,
    Process,
    RecurringExecution,
    RecurringTask,
    Semaphore,
    SemaphoreHolder,
)
from dj_queue.reads import counts, queues, throughput
from dj_queue.reads.counts import Failure
from dj_queue.selectors import parse_selectors
from dj_queue.states import JobState
from dj_queue.store import store_for
from dj_queue.store.shared import from_column

LISTED = 500
"""Of recurring tasks and of semaphores the first so many, by key, are listed."""


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue."""

    name: str
    ready: int
    claimed: int
    scheduled: int
    blocked: int
    failed: int
    finished: int
    """How many jobs ended well here since statistics are kept, whether they are still stored or not."""
    paused: bool
    latency: float | None
    """Seconds that the oldest ready job has waited, pauses not counted; None if there is none, or paused."""
    oldest_ready_at: datetime | None
    """Since when its oldest ready job could run, pauses counted."""
    next_scheduled_at: datetime | None
    oldest_blocked_at: datetime | None
    """When the first of its blocked jobs has waited for longer than its `concurrency_duration`."""
    live_workers: int
    """Living workers that serve the queue."""
    estimated: tuple[JobState, ...] = ()
    """The states of which the number is an estimate."""


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """One process or part of a process."""

    id: int
    name: str
    kind: str
    hostname: str
    pid: int
    metadata: dict[str, Any]
    supervisor_id: int | None
    last_heartbeat_at: datetime
    created_at: datetime
    is_live: bool


@dataclass(frozen=True, slots=True)
class LeaderStats:
    """Who does the work that only one process should do."""

    role: str
    process_name: str
    term: int
    since: datetime
    progress_at: datetime


@dataclass(frozen=True, slots=True)
class RecurringStats:
    """One recurring task."""

    key: str
    task_path: str
    queue_name: str
    schedule: str
    static: bool
    enabled: bool
    last_run_at: datetime | None
    next_run_at: datetime | None
    """None when it is disabled, or nobody has looked at it yet."""


@dataclass(frozen=True, slots=True)
class SemaphoreStats:
    """One concurrency key; shared by the backends of a database."""

    key: str
    limit: int
    occupied: int
    waiting: int
    """Jobs of any backend."""
    expires_at: datetime

    @property
    def available(self) -> int:
        """Free slots, never below zero."""
        return max(0, self.limit - self.occupied)


@dataclass(frozen=True, slots=True)
class BackendSnapshot:
    """One backend."""

    backend_alias: str
    database_alias: str
    taken_at: datetime
    """By the database's clock."""
    alive_threshold: timedelta
    queues: Sequence[QueueStats]
    processes: Sequence[ProcessStats]
    leaders: Sequence[LeaderStats]
    recurring: Sequence[RecurringStats]
    recurring_count: int
    semaphores: Sequence[SemaphoreStats]
    semaphore_count: int
    failures: Failure = field(repr=False)
    failed_retention: timedelta | None = None
    """None where failed jobs are kept for ever."""


def snapshot(config: BackendConfig, now: datetime | None = None) -> BackendSnapshot:
    """The backend of *config*; *now*, aware, replaces the database's clock for what lives and is overdue."""
    database, options = config.options.database_alias, config.options
    asked_at = store_for(database).now()
    now = now or asked_at
    retention = _seconds(options.clear_failed_jobs_after)
    failures = counts.failed(config, kept_since=None if retention is None else now - retention)
    listed = processes(config, now)
    recurring, recurring_count = recurring_stats(config)
    semaphores, semaphore_count = semaphore_stats(config)
    return BackendSnapshot(
        backend_alias=config.alias,
        database_alias=database,
        taken_at=now,
        alive_threshold=timedelta(seconds=options.process_alive_threshold),
        queues=_queue_stats(config, asked_at, listed, failures),
        processes=listed,
        leaders=leaders(config),
        recurring=recurring,
        recurring_count=recurring_count,
        semaphores=semaphores,
        semaphore_count=semaphore_count,
        failures=failures,
        failed_retention=retention,
    )


def queue_stats(config: BackendConfig) -> list[QueueStats]:
    """Every known queue, sorted by name."""
    now = store_for(config.options.database_alias).now()
    failures = counts.failed(config, kept_since=None)
    return _queue_stats(config, now, processes(config, now), failures)


def _queue_stats(
    config: BackendConfig,
    now: datetime,
    known_processes: Sequence[ProcessStats],
    failures: Failure,
) -> list[QueueStats]:
    database, failed = config.options.database_alias, failures.by_queue
    finished = throughput.finished_by_queue(database, config.alias)
    running = counts.running(config)
    paused = queues.paused_queues(config)
    names = sorted({*_known(config), *finished, *failed, *running, *paused})
    found = counts.waiting(config, names)
    found[JobState.CLAIMED], found[JobState.FAILED] = running, failed
    ready = found[JobState.READY]
    oldest = counts.oldest_by_queue(counts.oldest_ready(config, sorted(ready)))
    waited = queues.waits_since(config, oldest, now)
    following = counts.next_scheduled(config)
    expiring = counts.first_expiring(config) if found[JobState.BLOCKED] else {}
    selections = [_selection(each) for each in known_processes if _is_worker(each)]
    return [
        QueueStats(
            name,
            **{state.value: _number(by_name, name) for state, by_name in found.items()},
            finished=finished.get(name, 0),
            paused=name in paused,
            latency=None if name in paused else waited.get(name),
            oldest_ready_at=oldest.get(name),
            next_scheduled_at=following.get(name),
            oldest_blocked_at=expiring.get(name),
            live_workers=sum(selection.matches(name) for selection in selections),
            estimated=tuple(
                state
                for state, by_name in found.items()
                if name in by_name and not by_name[name].is_exact
            ),
        )
        for name in names
    ]


def processes(config: BackendConfig, now: datetime) -> list[ProcessStats]:
    """The processes and their parts, the supervisors first; *now* is the database's clock."""
    threshold = timedelta(seconds=config.options.process_alive_threshold)
    rows = Process.objects.using(config.options.database_alias).filter(backend_alias=config.alias)
    return [
        ProcessStats(
            id=row.id,
            name=row.name,
            kind=row.kind,
            hostname=row.hostname,
            pid=row.pid,
            metadata=row.metadata,
            supervisor_id=row.supervisor_id,
            last_heartbeat_at=_aware(row.last_heartbeat_at),
            created_at=_aware(row.created_at),
            is_live=now - _aware(row.last_heartbeat_at) <= threshold,
        )
        for row in sorted(rows, key=lambda row: (row.supervisor_id or row.id, row.id))
    ]


def leaders(config: BackendConfig) -> list[LeaderStats]:
    """Who leads, as far as it has told."""
    rows = Leadership.objects.using(config.options.database_alias)
    return [
        LeaderStats(
            row.role, row.process_name, row.term, _aware(row.since), _aware(row.progress_at)
        )
        for row in rows.filter(backend_alias=config.alias).order_by("role")
    ]


def recurring_stats(config: BackendConfig) -> tuple[list[RecurringStats], int]:
    """The first `LISTED` recurring tasks by their keys, and how many there are."""
    database = config.options.database_alias
    rows = RecurringTask.objects.using(database).filter(backend_alias=config.alias)
    fired = RecurringExecution.objects.using(database).filter(
        backend_alias=OuterRef("backend_alias"), task_key=OuterRef("key")
    )
    newest = Subquery(fired.order_by("-run_at").values("run_at")[:1])
    listed = [
        RecurringStats(
            key=row.key,
            task_path=row.task_path,
            queue_name=row.queue_name,
            schedule=row.schedule,
            static=row.static,
            enabled=row.enabled,
            last_run_at=from_column(row.last_run_at),
            next_run_at=from_column(row.next_run_at) if row.enabled else None,
        )
        for row in rows.annotate(last_run_at=newest).order_by("key")[:LISTED]
    ]
    return listed, len(listed) if len(listed) < LISTED else rows.count()


def semaphore_stats(config: BackendConfig) -> tuple[list[SemaphoreStats], int]:
    """The first `LISTED` semaphores of the database by their keys, and how many there are."""
    database = config.options.database_alias
    columns = ("key", "limit", "expires_at")
    rows = list(Semaphore.objects.using(database).order_by("key").values_list(*columns)[:LISTED])
    keys = [key for key, *_ in rows]
    in_use = SemaphoreHolder.in_use(database).filter(key__in=keys).values_list("key")
    held = dict(in_use.annotate(Count("pk")).order_by("key"))
    waiting = counts.blocked_by_key(config, keys)
    listed = [
        SemaphoreStats(key, limit, held.get(key, 0), waiting.get(key, 0), _aware(expires_at))
        for key, limit, expires_at in rows
    ]
    is_all = len(rows) < LISTED
    return listed, len(rows) if is_all else Semaphore.objects.using(database).count()


def _known(config: BackendConfig) -> set[str]:
    """Queues where jobs wait or recurring tasks go; and others from old jobs, unless statistics know them."""
    if not config.options.statistics:
        return set(queues.known_queues(config))
    database = config.options.database_alias
    recurring = RecurringTask.objects.using(database).filter(backend_alias=config.alias)
    waiting = store_for(database).waiting_queues(config.alias)
    return waiting.union(recurring.values_list("queue_name", flat=True))


def _number(by_name: Any, name: str) -> int:
    return by_name[name].number if name in by_name else 0


def _selection(process: ProcessStats) -> Any:
    return parse_selectors(str(process.metadata.get("queues") or "*").split(","))


def _is_worker(process: ProcessStats) -> bool:
    return process.kind == "Worker" and process.is_live


def _seconds(number: float | None) -> timedelta | None:
    return None if number is None else timedelta(seconds=number)


def _aware(moment: datetime) -> datetime:
    return cast("datetime", from_column(moment))


def by_status(listed: Iterable[ProcessStats]) -> dict[str, dict[str, int]]:
    """How many processes and parts of them live and are stale, by kind."""
    found: dict[str, dict[str, int]] = {}
    for process in listed:
        numbers = found.setdefault(process.kind, {"live": 0, "stale": 0})
        numbers["live" if process.is_live else "stale"] += 1
    return found
