"""Enqueue of jobs with a concurrency key, on Django's connection of the calling thread.

Limited jobs are written as blocked, and their keys are settled (see `dj_queue.store.slots`). In autocommit
that is one short transaction. In the caller's transaction nothing is settled: a semaphore that is locked
there would stay so until the caller commits, and workers that end a job of the same key would wait for a
web request. The keys are settled after the commit instead; until then such jobs are blocked.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

from dj_queue.states import DispatchOutcome
from dj_queue.store.records import Inserted, Limit, NewJob, Said, Settled
from dj_queue.store.shared import batches, outcome_of, to_column
from dj_queue.store.slots import ROWS_PER_STATEMENT, Slots
from dj_queue.store.transactions import retried

if TYPE_CHECKING:
    from dj_queue.store.base import Store

# MariaDB takes 16 MiB in one statement by default; a character may take four bytes there.
_CHARACTERS_PER_STATEMENT = 2 * 1024 * 1024

_INSERT_JOBS = """
    INSERT INTO dj_queue_jobs (id, task_path, queue_name, priority, payload, backend_alias, executor,
        trace_context, scheduled_at, created_at, updated_at, finished_at, concurrency_key,
        concurrency_limit, concurrency_duration, concurrency_on_conflict)
    VALUES """
_INSERT_READY = """
    INSERT INTO dj_queue_ready_executions
        (job_id, backend_alias, queue_name, priority, executor, created_at)
    VALUES """
_INSERT_SCHEDULED = """
    INSERT INTO dj_queue_scheduled_executions
        (job_id, backend_alias, queue_name, priority, executor, created_at, scheduled_at,
        concurrency_key)
    VALUES """
_INSERT_BLOCKED = """
    INSERT INTO dj_queue_blocked_executions
        (job_id, backend_alias, queue_name, priority, executor, created_at, concurrency_key, waits,
        expires_at)
    VALUES """

type _Row = tuple[Any, ...]


def commits_at_once(database: str) -> bool:
    """Whether what this thread writes to *database* now is not part of a transaction of somebody else."""
    connection = connections[database]
    return not connection.in_atomic_block and connection.get_autocommit()


def in_own_transaction[T](store: "Store", work: Callable[[Slots], T]) -> T:
    """What *work* returns, run in a transaction, which is tried again after a deadlock."""

    def attempt() -> T:
        with transaction.atomic(using=store.alias), connections[store.alias].cursor() as cursor:
            return work(store.slots(cursor))

    return retried(attempt) if commits_at_once(store.alias) else attempt()


def insert_limited(store: "Store", backend_alias: str, jobs: Sequence[NewJob]) -> Inserted:
    """Write *jobs*, some of which have a limit. A constant number of statements for each 1000.

    In a caller's transaction the jobs with a limit stay blocked (or are discarded, if the slots that can
    be seen now are all in use), and `settled` is None.
    """
    settles = commits_at_once(store.alias)

    def write(slots: Slots) -> Inserted:
        now = store.now()
        outcomes = _decide(jobs, now, slots, decides_discards=not settles)
        _write(store.alias, backend_alias, jobs, outcomes, now)
        settled = slots.settle(said_by(jobs, outcomes, now)) if settles else None
        outcomes = _after(jobs, outcomes, settled or Settled())
        _announce(store, backend_alias, jobs, outcomes, settled or Settled())
        return Inserted(now, outcomes, settled)

    return in_own_transaction(store, write)


def said_by(
    jobs: Iterable[NewJob], outcomes: Iterable[DispatchOutcome], now: datetime
) -> list[Said]:
    """What the jobs that compete for slots *now* say of their keys."""
    return [
        Said(*job.limit, now)
        for job, outcome in zip(jobs, outcomes, strict=True)
        if job.limit is not None and outcome is DispatchOutcome.BLOCKED
    ]


def _decide(
    jobs: Sequence[NewJob], now: datetime, slots: Slots, *, decides_discards: bool
) -> list[DispatchOutcome]:
    """Where each job goes at first; jobs that are discarded by what can be seen without a lock."""
    keys = {job.limit.key for job in jobs if job.limit is not None and job.discards}
    used = Counter(slots.used(sorted(keys)) if keys and decides_discards else {})
    outcomes = []
    for job in jobs:
        outcome = outcome_of(job, now)
        if job.limit is not None and outcome is DispatchOutcome.READY:
            is_full = used[job.limit.key] >= job.limit.limit
            outcome = DispatchOutcome.BLOCKED
            if job.discards and decides_discards and is_full:
                outcome = DispatchOutcome.DISCARDED
            else:
                used[job.limit.key] += 1
        outcomes.append(outcome)
    return outcomes


def _after(
    jobs: Sequence[NewJob], outcomes: Sequence[DispatchOutcome], settled: Settled
) -> list[DispatchOutcome]:
    started = {waiter.job_id for waiter in settled.started}
    discarded = {waiter.job_id for waiter in settled.discarded}
    return [
        DispatchOutcome.READY
        if job.id in started
        else DispatchOutcome.DISCARDED
        if job.id in discarded
        else outcome
        for job, outcome in zip(jobs, outcomes, strict=True)
    ]


def _announce(
    store: "Store",
    backend_alias: str,
    jobs: Sequence[NewJob],
    outcomes: Sequence[DispatchOutcome],
    settled: Settled,
) -> None:
    # Those without a limit, and those that were settled: here and perhaps of other backends.
    queues = {alias: set(names) for alias, names in settled.queues().items()}
    for job, outcome in zip(jobs, outcomes, strict=True):
        if outcome is DispatchOutcome.READY:
            queues.setdefault(backend_alias, set()).add(job.queue_name)
    for alias, names in queues.items():
        store.announce_ready(alias, sorted(names))
    if wakes_dispatchers(jobs, outcomes):
        store.announce_scheduled(backend_alias)


def wakes_dispatchers(jobs: Iterable[NewJob], outcomes: Iterable[DispatchOutcome]) -> bool:
    """Whether the clock is what some of *jobs* wait for: their time, or the end of a rate limit's slot."""
    return any(
        outcome is DispatchOutcome.SCHEDULED
        or (outcome is DispatchOutcome.BLOCKED and job.limit is not None and job.limit.is_rate)
        for job, outcome in zip(jobs, outcomes, strict=True)
    )


def _write(
    database: str,
    backend_alias: str,
    jobs: Sequence[NewJob],
    outcomes: Sequence[DispatchOutcome],
    now: datetime,
) -> None:
    placed = list(zip(jobs, outcomes, strict=True))
    is_postgres = connections[database].vendor == "postgresql"
    moment: Callable[[datetime | None], Any] = (lambda each: each) if is_postgres else to_column
    with connections[database].cursor() as cursor:
        for batch in batches(
            placed,
            lambda each: len(each[0].payload),
            most_items=ROWS_PER_STATEMENT,
            most_weight=_CHARACTERS_PER_STATEMENT,
        ):
            rows = [_job_row(job, backend_alias, outcome, now, moment) for job, outcome in batch]
            _insert(cursor, _INSERT_JOBS, rows)
            for statement, part in _execution_rows(batch, backend_alias, now, moment):
                _insert(cursor, statement, part)


def _insert(cursor: Any, statement: str, rows: Sequence[_Row]) -> None:
    if rows:
        row = f"({', '.join(['%s'] * len(rows[0]))})"
        cursor.execute(
            statement + ", ".join([row] * len(rows)), [value for row in rows for value in row]
        )


def _job_row(
    job: NewJob,
    backend_alias: str,
    outcome: DispatchOutcome,
    now: datetime,
    moment: Callable[[datetime | None], Any],
) -> _Row:
    finished_at = moment(now) if outcome is DispatchOutcome.DISCARDED else None
    on_conflict = None if job.limit is None else "discard" if job.discards else "block"
    return (
        job.id.hex, job.task_path, job.queue_name, job.priority, job.payload, backend_alias,
        int(job.executor), job.trace_context, moment(job.run_after), moment(now), moment(now),
        finished_at, *(job.limit or (None, None, None)), on_conflict,
    )  # fmt: skip


def _execution_rows(
    placed: Sequence[tuple[NewJob, DispatchOutcome]],
    backend_alias: str,
    now: datetime,
    moment: Callable[[datetime | None], Any],
) -> Iterator[tuple[str, list[_Row]]]:
    """The rows of the tables of executions, with the statement that writes them."""
    rows: dict[str, list[_Row]] = {
        _INSERT_READY: [],
        _INSERT_SCHEDULED: [],
        _INSERT_BLOCKED: [],
    }
    for job, outcome in placed:
        row = (
            job.id.hex, backend_alias, job.queue_name, job.priority, int(job.executor), moment(now),
        )  # fmt: skip
        if outcome is DispatchOutcome.READY:
            rows[_INSERT_READY].append(row)
        elif outcome is DispatchOutcome.SCHEDULED:
            key = None if job.limit is None else job.limit.key
            rows[_INSERT_SCHEDULED].append((*row, moment(job.run_after), key))
        elif outcome is DispatchOutcome.BLOCKED and job.limit is not None:
            rows[_INSERT_BLOCKED].append(
                (*row, job.limit.key, not job.discards, moment(_end_of_wait(job.limit, now)))
            )
    yield from rows.items()


def _end_of_wait(limit: Limit, now: datetime) -> datetime:
    return now + timedelta(seconds=limit.duration)
