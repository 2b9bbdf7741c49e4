"""How many jobs are in each state, at a cost that does not grow with their number.

Up to `EXACT` rows are counted; for more, the planner of the database is asked how many it expects, and the
answer is marked as an estimate. (SQLite has no such planner and counts them all, which it does fast.) What
is large is kept for some seconds, counted or estimated: see `dj_queue.reads.kept`.
Failed and running jobs have no queue in their own row: of these the oldest `SAMPLE` are looked up, and
what is beyond is taken to be spread over the queues in the same way. Finished jobs are never counted here:
see `dj_queue.reads.throughput`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import batched
from typing import Any, NamedTuple, cast

from django.db import connections

from dj_queue.config import BackendConfig
from dj_queue.models import (
    BlockedExecution,
    ClaimedExecution,
    FailedExecution,
    ReadyExecution,
    ScheduledExecution,
)
from dj_queue.reads.kept import LARGE, Kept
from dj_queue.states import Executor, JobState
from dj_queue.store import store_for
from dj_queue.store.shared import from_column

EXACT = 10_000
"""Up to so many rows are counted, of each queue."""

SAMPLE = 1_000
"""So many of the oldest failed jobs, and of the running ones, are looked at."""

# What SQLite takes in one statement is bounded (500 parts), and so is what a planner should be given.
_PARTS = 100

# Of so many priorities in each queue the oldest ready job is looked for; whoever uses more has a wait that
# is only that of the highest.
_PRIORITIES = 12

_TABLES = {
    JobState.READY: "dj_queue_ready_executions",
    JobState.SCHEDULED: "dj_queue_scheduled_executions",
    JobState.BLOCKED: "dj_queue_blocked_executions",
}
WAITING = tuple(_TABLES)
"""The states that have their queue, and an index by it, in their own rows."""


class Count(NamedTuple):
    """A number of rows."""

    number: int
    is_exact: bool = True


class Failure(NamedTuple):
    """What is known of the failed jobs of a backend."""

    by_queue: dict[str, Count]
    total: Count
    oldest: datetime | None
    over_retention: Count
    """Those that failed before the moment that was asked for."""
    oldest_over_retention: datetime | None


_large: Kept[tuple[str, str, JobState, str], Count] = Kept()


def waiting(config: BackendConfig, names: Sequence[str]) -> dict[JobState, dict[str, Count]]:
    """Ready, scheduled and blocked jobs of each queue in *names*; queues without any are left out."""
    place = (config.options.database_alias, config.alias)
    parts = [(state, name) for name in names for state in WAITING]
    known = _large.known((*place, *part) for part in parts)
    counts = {key[2:]: count for key, count in known.items()}
    asked = capped(config, [part for part in parts if part not in counts], EXACT)
    counts |= {part: _beyond(config, *part, number) for part, number in asked.items()}
    _large.keep({(*place, *part): counts[part] for part in asked if counts[part].number >= LARGE})
    found: dict[JobState, dict[str, Count]] = {state: {} for state in WAITING}
    for state, name in parts:
        if counts[state, name].number:
            found[state][name] = counts[state, name]
    return found


def capped(
    config: BackendConfig, parts: Iterable[tuple[JobState, str]], limit: int
) -> dict[tuple[JobState, str], int]:
    """How many jobs are in each state and queue of *parts*, but not more than one above *limit*.

    One statement for every hundred. The states are those of `WAITING`.
    """
    found: dict[tuple[JobState, str], int] = {}
    for some in batched(parts, _PARTS):
        # A derived table with a LIMIT of its own is what all four databases stop counting at.
        statement = " UNION ALL ".join(
            f"SELECT {place} AS place, count(*) AS number FROM (SELECT 1 AS one FROM {_TABLES[state]} "
            f"WHERE backend_alias = %s AND queue_name = %s LIMIT {limit + 1}) part_{place}"
            for place, (state, _) in enumerate(some)
        )
        parameters = [value for _, name in some for value in (config.alias, name)]
        found |= {some[place]: number for place, number in _rows(config, statement, parameters)}
    return found


def forget() -> None:
    """Count and estimate anew: this process has just changed much."""
    _large.forget()


def running(config: BackendConfig) -> dict[str, Count]:
    """Claimed jobs of each queue."""
    rows = ClaimedExecution.objects.using(config.options.database_alias).order_by("id")
    sampled = list(rows.values_list("job__backend_alias", "job__queue_name")[: SAMPLE + 1])
    share = _share(config, "dj_queue_claimed_executions", len(sampled))
    return _by_queue(config, sampled[:SAMPLE], share)


def failed(config: BackendConfig, *, kept_since: datetime | None) -> Failure:
    """Failed jobs; *kept_since* is before when those that are older are over their retention."""
    rows = FailedExecution.objects.using(config.options.database_alias).order_by("created_at", "id")
    columns = ("job__backend_alias", "job__queue_name", "created_at")
    sampled = list(rows.values_list(*columns)[: SAMPLE + 1])
    share = _share(config, "dj_queue_failed_executions", len(sampled))
    ours = [_aware(moment) for backend, _, moment in sampled[:SAMPLE] if backend == config.alias]
    by_queue = _by_queue(config, [row[:2] for row in sampled[:SAMPLE]], share)
    over = [moment for moment in ours if kept_since is not None and moment < kept_since]
    # The sample is the oldest: one that is not over its time ends those that are.
    is_all = share == 1 or len(over) < len(ours)
    return Failure(
        by_queue,
        Count(sum(count.number for count in by_queue.values()), share == 1),
        ours[0] if ours else None,
        Count(len(over) if is_all else round(len(over) * share), is_all),
        over[0] if over else None,
    )


def next_scheduled(config: BackendConfig) -> dict[str, datetime]:
    """When the next scheduled job of each queue is due; of queues that have none among the next
    `SAMPLE` of the backend nothing is told.
    """
    rows = ScheduledExecution.objects.using(config.options.database_alias)
    following = rows.filter(backend_alias=config.alias).order_by("scheduled_at", "-priority", "id")
    found: dict[str, datetime] = {}
    for name, moment in following.values_list("queue_name", "scheduled_at")[:SAMPLE]:
        found.setdefault(name, _aware(moment))
    return found


def first_expiring(config: BackendConfig) -> dict[str, datetime]:
    """When the first blocked job of each queue expires, of the `SAMPLE` oldest blocked jobs."""
    rows = BlockedExecution.objects.using(config.options.database_alias).order_by("id")
    found: dict[str, datetime] = {}
    for backend, name, moment in rows.values_list("backend_alias", "queue_name", "expires_at")[
        :SAMPLE
    ]:
        if backend == config.alias:
            expires_at = _aware(moment)
            found[name] = min(expires_at, found.get(name, expires_at))
    return found


def oldest_ready(
    config: BackendConfig, names: Sequence[str]
) -> dict[tuple[str, Executor], datetime]:
    """Since when the oldest ready job has waited, pauses counted; by queue, of *names*, and executor.

    Of each priority and executor the first by the order of claims is the oldest, and a step in the index.
    """
    heads: list[int] = []
    wanted = [_Lane(name, executor, None) for name in names for executor in Executor]
    for _ in range(_PRIORITIES):
        below: list[_Lane] = []
        for some in batched(wanted, _PARTS):
            for row_id, name, executor, priority in _heads(config, some):
                heads.append(row_id)
                below.append(_Lane(name, executor, priority))
        wanted = below
        if not wanted:
            break
    oldest: dict[tuple[str, Executor], datetime] = {}
    ready = ReadyExecution.objects.using(config.options.database_alias)
    columns = ("queue_name", "executor", "created_at", "latency_started_at")
    for some_ids in batched(heads, 500):
        for name, executor, came_at, counted_from in ready.filter(id__in=some_ids).values_list(
            *columns
        ):
            lane, since = (name, Executor(executor)), _aware(counted_from or came_at)
            oldest[lane] = min(since, oldest.get(lane, since))
    return oldest


def oldest_by_queue(lanes: Mapping[tuple[str, Executor], datetime]) -> dict[str, datetime]:
    """What `oldest_ready` found, whatever the executor."""
    oldest: dict[str, datetime] = {}
    for (name, _), since in lanes.items():
        oldest[name] = min(since, oldest.get(name, since))
    return oldest


class _Lane(NamedTuple):
    """Where to look for the oldest ready job."""

    queue_name: str
    executor: int
    below: int | None
    """Of a lower priority than this."""


def _heads(config: BackendConfig, lanes: Sequence[_Lane]) -> Iterator[tuple[int, str, int, int]]:
    parts: list[str] = []
    parameters: list[str | int] = []
    for place, lane in enumerate(lanes):
        limit = "" if lane.below is None else "AND priority < %s"
        parts.append(
            f"SELECT * FROM (SELECT id, queue_name, executor, priority FROM {_TABLES[JobState.READY]} "
            f"WHERE backend_alias = %s AND queue_name = %s AND executor = %s {limit} "
            f"ORDER BY priority DESC, id LIMIT 1) head_{place}"
        )
        parameters += [config.alias, lane.queue_name, lane.executor]
        parameters += [] if lane.below is None else [lane.below]
    yield from _rows(config, " UNION ALL ".join(parts), parameters)


def _beyond(config: BackendConfig, state: JobState, name: str, number: int) -> Count:
    if number <= EXACT:
        return Count(number)
    condition = f"FROM {_TABLES[state]} WHERE backend_alias = %s AND queue_name = %s"
    expected = store_for(config.options.database_alias).estimated_rows(
        f"SELECT 1 {condition}", (config.alias, name)
    )
    if expected is None:
        return Count(next(_rows(config, f"SELECT count(*) {condition}", (config.alias, name)))[0])
    return Count(max(expected, number), is_exact=False)


def _share(config: BackendConfig, table: str, sampled: int) -> float:
    """How many rows of *table* each one of the sample stands for."""
    if sampled <= SAMPLE:
        return 1
    expected = store_for(config.options.database_alias).estimated_rows(f"SELECT 1 FROM {table}", ())
    if expected is None:
        expected = next(_rows(config, f"SELECT count(*) FROM {table}", ()))[0]
    return max(expected, sampled) / SAMPLE


def _by_queue(
    config: BackendConfig, rows: Sequence[tuple[str, str]], share: float
) -> dict[str, Count]:
    numbers: defaultdict[str, int] = defaultdict(int)
    for backend, name in rows:
        if backend == config.alias:
            numbers[name] += 1
    return {name: Count(round(number * share), share == 1) for name, number in numbers.items()}


def _rows(config: BackendConfig, statement: str, parameters: Sequence[str | int]) -> Iterator[Any]:
    with connections[config.options.database_alias].cursor() as cursor:
        cursor.execute(statement, parameters)
        yield from cursor.fetchall()


def _aware(moment: datetime) -> datetime:
    return cast("datetime", from_column(moment))
