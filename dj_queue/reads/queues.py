"""Queues: which there are, how much waits in each, for how long, and who works for it.

Every question is a fixed number of statements for all queues of a backend. Counting reads the rows that
are counted; nothing here reads finished jobs, but for the newest few.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

from django.db.models import Count, Min, Q, QuerySet
from django.db.models.functions import Coalesce

from dj_queue.config import BackendConfig
from dj_queue.models import (
    BlockedExecution,
    ClaimedExecution,
    FailedExecution,
    Job,
    PastPause,
    Pause,
    Process,
    ReadyExecution,
    RecurringTask,
    ScheduledExecution,
)
from dj_queue.selectors import parse_selectors
from dj_queue.store import store_for
from dj_queue.store.shared import django_time, from_column

# How many of the newest jobs, and of the newest failed ones, are asked for the names of their queues.
_NEWEST = 1000

type Period = tuple[datetime, datetime]


class ReadyState(NamedTuple):
    """What waits for workers in one queue."""

    size: int
    """Ready jobs."""
    latency: float | None
    """Seconds that the oldest of them has waited, pauses not counted; None while the queue is paused."""
    is_paused: bool


NOTHING_READY = ReadyState(0, 0.0, is_paused=False)


@dataclass(slots=True)
class QueueDepth:
    """How many jobs of one queue are in each live state."""

    name: str
    ready: int = 0
    scheduled: int = 0
    claimed: int = 0
    blocked: int = 0
    failed: int = 0
    is_paused: bool = False
    latency: float | None = 0.0
    """See `ReadyState`."""
    workers: int = 0
    """Living workers that serve the queue."""


def known_queues(config: BackendConfig) -> list[str]:
    """The names of all queues that are known, sorted.

    From jobs that wait or run, pauses and recurring tasks; of failed and finished jobs the newest 1000 of
    each are asked. The cost does not grow with the number of jobs.
    """
    database, alias = config.options.database_alias, config.alias
    names = store_for(database).waiting_queues(alias)
    running = ClaimedExecution.objects.using(database).filter(job__backend_alias=alias)
    names.update(running.values_list("job__queue_name", flat=True).distinct())
    for model in (Pause, RecurringTask):
        rows: QuerySet[Any] = model._base_manager.using(database)  # noqa: SLF001
        names.update(rows.filter(backend_alias=alias).values_list("queue_name", flat=True))
    failed = FailedExecution.objects.using(database).order_by("-created_at", "-id")
    newest = Job.objects.using(database).order_by("-id")
    for recent in (
        failed.values_list("job__backend_alias", "job__queue_name")[:_NEWEST],
        newest.values_list("backend_alias", "queue_name")[:_NEWEST],
    ):
        names.update(name for backend, name in recent if backend == alias)
    return sorted(names)


def ready_states(
    config: BackendConfig, names: Collection[str] | None = None
) -> dict[str, ReadyState]:
    """What waits in each queue that has ready jobs or is paused; of *names* only, if given."""
    database = config.options.database_alias
    ready = ReadyExecution.objects.using(database).filter(_of(config, names))
    since = Min(Coalesce("latency_started_at", "created_at"))
    found = {
        name: (count, cast("datetime", from_column(oldest)))
        for name, count, oldest in ready.values_list("queue_name")
        .annotate(count=Count("pk"), oldest=since)
        .order_by("queue_name")
    }
    paused = paused_queues(config, names)
    came = {name: oldest for name, (_, oldest) in found.items()}
    waits = waits_since(config, came, store_for(database).now()) if came else {}
    return {
        name: ReadyState(
            found[name][0] if name in found else 0,
            None if name in paused else waits.get(name, 0.0),
            name in paused,
        )
        for name in found.keys() | paused
    }


def size(config: BackendConfig, name: str) -> int:
    """How many jobs are ready in a queue."""
    database = config.options.database_alias
    return ReadyExecution.objects.using(database).filter(_of(config, [name])).count()


def paused_queues(config: BackendConfig, names: Collection[str] | None = None) -> set[str]:
    """The queues that are paused; of *names* only, if given."""
    pauses = Pause.objects.using(config.options.database_alias).filter(_of(config, names))
    return set(pauses.values_list("queue_name", flat=True))


def seconds_waited(since: datetime, now: datetime, pauses: Iterable[Period]) -> float:
    """From *since* to *now*, without the parts of *pauses* that lie between; never negative."""
    waited = now - since
    for start, end in pauses:
        waited -= max(timedelta(0), min(end, now) - max(start, since))
    return max(0.0, waited.total_seconds())


def depths(config: BackendConfig) -> list[QueueDepth]:
    """Every known queue with what it holds, sorted by name. Reads all live rows: not for every second."""
    found: dict[str, QueueDepth] = {}
    for name in known_queues(config):
        found[name] = QueueDepth(name)
    for state, counts in _counts(config).items():
        for name, count in counts:
            setattr(found.setdefault(name, QueueDepth(name)), state, count)
    for name, ready in ready_states(config).items():
        depth = found.setdefault(name, QueueDepth(name))
        depth.ready, depth.latency, depth.is_paused = ready
    selections = [parse_selectors(queues) for queues in _served(config)]
    for depth in found.values():
        depth.workers = sum(selection.matches(depth.name) for selection in selections)
    return [found[name] for name in sorted(found)]


def waiting_counts(
    config: BackendConfig, *, exclude_scheduled: bool = False, names: Collection[str] | None = None
) -> dict[str, int]:
    """How many jobs wait in each queue (ready, blocked, scheduled); queues without any are left out."""
    models: list[Any] = [ReadyExecution, BlockedExecution]
    if not exclude_scheduled:
        models.append(ScheduledExecution)
    totals: defaultdict[str, int] = defaultdict(int)
    for model in models:
        rows = model.objects.using(config.options.database_alias).filter(_of(config, names))
        for name, count in _counted(rows, "queue_name"):
            totals[name] += count
    return dict(sorted(totals.items()))


def waits_since(
    config: BackendConfig, oldest: Mapping[str, datetime], now: datetime
) -> dict[str, float]:
    """For how long the oldest jobs have waited: *oldest* says since when, by queue."""
    if not oldest:
        return {}
    database = config.options.database_alias
    pauses: defaultdict[str, list[Period]] = defaultdict(list)
    past = PastPause.objects.using(database).filter(
        _of(config, oldest), resumed_at__gt=django_time(min(oldest.values()))
    )
    for name, start, end in past.values_list("queue_name", "paused_at", "resumed_at"):
        pauses[name].append((_aware(start), _aware(end)))
    return {name: seconds_waited(since, now, pauses[name]) for name, since in oldest.items()}


def _counts(config: BackendConfig) -> dict[str, list[tuple[str, int]]]:
    database, mine = config.options.database_alias, Q(backend_alias=config.alias)
    jobs = Q(job__backend_alias=config.alias)
    return {
        "scheduled": _counted(
            ScheduledExecution.objects.using(database).filter(mine), "queue_name"
        ),
        "blocked": _counted(BlockedExecution.objects.using(database).filter(mine), "queue_name"),
        "claimed": _counted(
            ClaimedExecution.objects.using(database).filter(jobs), "job__queue_name"
        ),
        "failed": _counted(FailedExecution.objects.using(database).filter(jobs), "job__queue_name"),
    }


def _counted(rows: QuerySet[Any], column: str) -> list[tuple[str, int]]:
    return list(rows.values_list(column).annotate(count=Count("pk")).order_by(column))


def _served(config: BackendConfig) -> list[list[str]]:
    """The selectors of each living worker."""
    database = config.options.database_alias
    alive = store_for(database).now() - timedelta(seconds=config.options.process_alive_threshold)
    workers = Process.objects.using(database).filter(
        backend_alias=config.alias, kind="Worker", last_heartbeat_at__gte=django_time(alive)
    )
    metadata: Sequence[dict[str, Any]] = list(workers.values_list("metadata", flat=True))
    return [str(each.get("queues", "*")).split(",") for each in metadata]


def _of(config: BackendConfig, names: Collection[str] | None) -> Q:
    mine = Q(backend_alias=config.alias)
    return mine if names is None else mine & Q(queue_name__in=list(names))


def _aware(moment: datetime) -> datetime:
    return cast("datetime", from_column(moment))
