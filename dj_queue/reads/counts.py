"""How many jobs are in each state, at a cost that does not grow with their number.

Up to `EXACT` rows are counted; for more, the planner of the database is asked how many it expects, and the
answer is marked as an estimate. (SQLite has no such planner and counts them all, which it does fast.) What
is large is kept for some seconds, counted or estimated: see `dj_queue.reads.kept`.
Failed and running jobs have no queue in their own row: of these the oldest `SAMPLE` are looked up, and
what is beyond is taken to be spread over the queues in the same way. Finished jobs are never counted here:
see `dj_queue.reads.throughput`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import batched
from typing import Any, NamedTuple, cast

from django.db import connections

from dj_queue.config import BackendConfig
from dj_queue.reads.kept import LARGE, Kept
from dj_queue.reads.moments import read_moment, write_moment
from dj_queue.states import Executor, JobState
from dj_queue.store import store_for

EXACT = 10_000
"""Up to so many rows are counted, of each queue."""

SAMPLE = 1_000
"""So many of the oldest failed jobs, and of the running ones, are looked at."""

# What SQLite takes in one statement is bounded (500 parts), and so is what a planner should be given.
_PARTS = 100

# Nothing failed before this. A year that every zone and every database can take.
_LONG_AGO = datetime(1971, 1, 1, tzinfo=UTC)

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
    counts |= {part: Count(number) for part, number in asked.items() if number <= EXACT}
    counts |= _beyond(config, {part: number for part, number in asked.items() if number > EXACT})
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
    rows = list(_rows(config, _RUNNING.format(limit=SAMPLE)))
    share = _share(config, "dj_queue_claimed_executions", sum(row[2] for row in rows))
    return _by_queue(config, rows, share)


def failed(config: BackendConfig, *, kept_since: datetime | None) -> Failure:
    """Failed jobs; *kept_since* is before when those that are older are over their retention."""
    database = config.options.database_alias
    before = write_moment(database, kept_since or _LONG_AGO)
    rows = list(_rows(config, _FAILED.format(limit=SAMPLE), (before,)))
    share = _share(config, "dj_queue_failed_executions", sum(row[2] for row in rows))
    ours = [row for row in rows if row[0] == config.alias]
    by_queue = _by_queue(config, rows, share)
    # MySQL adds integers up to decimals.
    over = sum(int(row[4]) for row in ours)
    oldest = min((_moment(config, row[3]) for row in ours), default=None)
    # The sample is the oldest: one that is not over its time ends those that are.
    is_all = share == _ALL or over < sum(row[2] for row in ours)
    return Failure(
        by_queue,
        Count(sum(count.number for count in by_queue.values()), share == _ALL),
        oldest,
        Count(over if is_all else round(over * (share or 1)), is_all),
        oldest if over else None,
    )


# The queues come from the jobs' own rows, each found by its key; of the sample only sums are sent.
_RUNNING = """
    SELECT jobs.backend_alias, jobs.queue_name, COUNT(*) FROM (
        SELECT job_id FROM dj_queue_claimed_executions ORDER BY id LIMIT {limit}
    ) running JOIN dj_queue_jobs jobs ON jobs.id = running.job_id
    GROUP BY jobs.backend_alias, jobs.queue_name
"""

_FAILED = """
    SELECT jobs.backend_alias, jobs.queue_name, COUNT(*), MIN(failed.created_at),
        SUM(CASE WHEN failed.created_at < %s THEN 1 ELSE 0 END)
    FROM (
        SELECT job_id, created_at FROM dj_queue_failed_executions ORDER BY created_at, id LIMIT {limit}
    ) failed JOIN dj_queue_jobs jobs ON jobs.id = failed.job_id
    GROUP BY jobs.backend_alias, jobs.queue_name
"""


def next_scheduled(config: BackendConfig) -> dict[str, datetime]:
    """When the next scheduled job of each queue is due; of queues that have none among the next
    `SAMPLE` of the backend nothing is told.
    """
    rows = _rows(config, _NEXT_SCHEDULED.format(limit=SAMPLE), (config.alias,))
    return {name: _moment(config, moment) for name, moment in rows}


_NEXT_SCHEDULED = """
    SELECT queue_name, MIN(scheduled_at) FROM (
        SELECT queue_name, scheduled_at FROM dj_queue_scheduled_executions WHERE backend_alias = %s
        ORDER BY scheduled_at, priority DESC, id LIMIT {limit}
    ) following GROUP BY queue_name
"""


def first_expiring(config: BackendConfig) -> dict[str, datetime]:
    """When the first blocked job of each queue expires, of the `SAMPLE` oldest blocked jobs."""
    rows = _rows(config, _FIRST_EXPIRING.format(limit=SAMPLE), (config.alias,))
    return {name: _moment(config, moment) for name, moment in rows}


# Any backend's are looked at, because of one alone there is no index in this order.
_FIRST_EXPIRING = """
    SELECT queue_name, MIN(expires_at) FROM (
        SELECT backend_alias, queue_name, expires_at FROM dj_queue_blocked_executions
        ORDER BY id LIMIT {limit}
    ) oldest WHERE backend_alias = %s GROUP BY queue_name
"""


def blocked_by_key(config: BackendConfig, keys: Sequence[str]) -> dict[str, int]:
    """How many jobs of any backend wait for each of *keys*, of `EXACT` of them in all."""
    if not keys:
        return {}
    places = ", ".join(["%s"] * len(keys))
    return dict(_rows(config, _BLOCKED_BY_KEY.format(places=places, limit=EXACT), keys))


_BLOCKED_BY_KEY = """
    SELECT concurrency_key, COUNT(*) FROM (
        SELECT concurrency_key FROM dj_queue_blocked_executions
        WHERE concurrency_key IN ({places}) LIMIT {limit}
    ) waiting GROUP BY concurrency_key
"""


def oldest_ready(
    config: BackendConfig, names: Sequence[str]
) -> dict[tuple[str, Executor], datetime]:
    """Since when the oldest ready job has waited, pauses counted; by queue, of *names*, and executor.

    Of each priority and executor the first by the order of claims is the oldest, and a step in the index.
    """
    oldest: dict[tuple[str, Executor], datetime] = {}
    wanted = [_Lane(name, executor, None) for name in names for executor in Executor]
    for _ in range(_PRIORITIES):
        below: list[_Lane] = []
        for some in batched(wanted, _PARTS):
            for name, executor, priority, moment in _heads(config, some):
                lane, since = (name, Executor(executor)), _moment(config, moment)
                oldest[lane] = min(since, oldest.get(lane, since))
                below.append(_Lane(name, executor, priority))
        wanted = below
        if not wanted:
            break
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


def _heads(config: BackendConfig, lanes: Sequence[_Lane]) -> Iterator[tuple[str, int, int, Any]]:
    parts: list[str] = []
    parameters: list[str | int] = []
    for place, lane in enumerate(lanes):
        limit = "" if lane.below is None else "AND priority < %s"
        parts.append(
            f"SELECT * FROM (SELECT queue_name, executor, priority, COALESCE(latency_started_at, created_at) "
            f"FROM {_TABLES[JobState.READY]} "
            f"WHERE backend_alias = %s AND queue_name = %s AND executor = %s {limit} "
            f"ORDER BY priority DESC, id LIMIT 1) head_{place}"
        )
        parameters += [config.alias, lane.queue_name, lane.executor]
        parameters += [] if lane.below is None else [lane.below]
    yield from _rows(config, " UNION ALL ".join(parts), parameters)


type _Part = tuple[JobState, str]


def _beyond(config: BackendConfig, capped_at: Mapping[_Part, int]) -> dict[_Part, Count]:
    """Of parts with more rows than are counted, how many there may be. One statement for each state."""
    found: dict[_Part, Count] = {}
    for state, table in _TABLES.items():
        parts = [part for part in capped_at if part[0] == state]
        statement = f"FROM {table} WHERE backend_alias = %s AND queue_name = %s"
        for some in batched(parts, _PARTS):
            expected = store_for(config.options.database_alias).estimated_rows(
                [(f"SELECT 1 {statement}", (config.alias, name)) for _, name in some]
            )
            for place, part in enumerate(some):
                if expected is None:
                    [[number]] = _rows(
                        config, f"SELECT count(*) {statement}", (config.alias, part[1])
                    )
                    found[part] = Count(number)
                else:
                    found[part] = Count(max(expected[place], capped_at[part]), is_exact=False)
    return found


def _share(config: BackendConfig, table: str, sampled: int) -> float | None:
    """How many rows of *table* each one of the sample stands for; `_ALL` where it is all of them."""
    if sampled < SAMPLE:
        return _ALL
    expected = store_for(config.options.database_alias).estimated_rows(
        [(f"SELECT 1 FROM {table}", ())]
    )
    if expected is None:
        [[number]] = _rows(config, f"SELECT count(*) FROM {table}")
        return number / SAMPLE if number > SAMPLE else _ALL
    return max(expected[0], sampled) / SAMPLE


_ALL = None


def _by_queue(
    config: BackendConfig, rows: Sequence[Sequence[Any]], share: float | None
) -> dict[str, Count]:
    """The rows of *config* begin with their backend, a queue and a number of jobs of the sample."""
    return {
        name: Count(round(number * (share or 1)), share == _ALL)
        for backend, name, number, *_ in rows
        if backend == config.alias
    }


def _rows(config: BackendConfig, statement: str, parameters: Sequence[Any] = ()) -> Iterator[Any]:
    with connections[config.options.database_alias].cursor() as cursor:
        cursor.execute(statement, parameters)
        yield from cursor.fetchall()


def _moment(config: BackendConfig, value: Any) -> datetime:
    return cast("datetime", read_moment(config.options.database_alias, value))
