"""Dispatch: stored jobs that are in no state yet (retried, started early) become ready or scheduled.

What `dj_queue.operations.enqueue` does for jobs that are new, for those that have a row already.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import cast
from uuid import UUID

from django.db import connections, transaction

from dj_queue import events
from dj_queue.config import BackendConfig
from dj_queue.models import Job, ReadyExecution, ScheduledExecution
from dj_queue.operations import limits
from dj_queue.states import DispatchOutcome
from dj_queue.store import store_for
from dj_queue.store.shared import django_time, from_column

ROWS_PER_STATEMENT = 1000


def place(
    config: BackendConfig, jobs: Sequence[Job], *, at_once: bool = False
) -> Mapping[UUID, DispatchOutcome]:
    """Give *jobs*, which have no row in any table of executions, one; where each went, by its id.

    A job whose `scheduled_at` lies ahead waits for it, unless *at_once*. Ready jobs keep the order in
    which they are given. About a job that its concurrency policy discards nothing is written: what
    `DISCARDED` means is for the caller to say (a retry refuses, a start finishes the job). In the
    caller's transaction, in a constant number of statements for each 1000 jobs; after the commit
    whoever waits for such jobs is woken.
    """
    if not jobs:
        return {}
    database = config.options.database_alias
    now = store_for(database).now()
    outcomes = {job.id: _outcome(job, now, at_once=at_once) for job in jobs}
    with transaction.atomic(using=database):
        ready = _those(jobs, outcomes, DispatchOutcome.READY)
        outcomes |= limits.place(database, [job for job in ready if job.concurrency_key], now)
        write_ready(database, _those(jobs, outcomes, DispatchOutcome.READY), now)
        _write_scheduled(database, _those(jobs, outcomes, DispatchOutcome.SCHEDULED), now)
        wake_ready(config, _those(jobs, outcomes, DispatchOutcome.READY))
        if DispatchOutcome.SCHEDULED in outcomes.values():
            wake_dispatchers(config)
    return outcomes


def write_ready(database: str, jobs: Iterable[Job], now: datetime) -> None:
    """Insert a ready row for each of *jobs*; *now* is the database's clock."""
    ReadyExecution.objects.using(database).bulk_create(
        (
            ReadyExecution(
                job_id=job.id,
                backend_alias=job.backend_alias,
                queue_name=job.queue_name,
                priority=job.priority,
                executor=job.executor,
                created_at=cast("datetime", django_time(now)),
            )
            for job in jobs
        ),
        batch_size=ROWS_PER_STATEMENT,
    )


def finish_discarded(
    config: BackendConfig, jobs: Sequence[Job], outcomes: Mapping[UUID, DispatchOutcome]
) -> None:
    """Finish those of *jobs* that their policy discards, as it does with new ones."""
    discarded = _those(jobs, outcomes, DispatchOutcome.DISCARDED)
    if not discarded:
        return
    database = config.options.database_alias
    now = django_time(store_for(database).now())
    for job in discarded:
        job.finished_at = now
    ids = [job.pk for job in discarded]
    Job.objects.using(database).filter(pk__in=ids).update(finished_at=now, updated_at=now)


def wake_ready(config: BackendConfig, jobs: Iterable[Job]) -> None:
    """Wake the workers that serve *jobs*, which are ready, once the current transaction commits."""
    wake_queues(config, sorted({job.queue_name for job in jobs}))


def wake_queues(config: BackendConfig, queues: Sequence[str]) -> None:
    """Wake the workers that serve *queues*, here and elsewhere, once the current transaction commits."""
    if not queues:
        return
    database = config.options.database_alias
    store_for(database).announce_ready(config.alias, queues)
    ready = events.JobsReady(database, config.alias, tuple(queues))
    emit_after_commit(database, ready)


def wake_dispatchers(config: BackendConfig) -> None:
    """Have the dispatcher look again when it is due next, once the current transaction commits."""
    database = config.options.database_alias
    store_for(database).announce_scheduled(config.alias)
    emit_after_commit(database, events.JobsScheduled(database, config.alias))


def emit_after_commit(database: str, event: object) -> None:
    """Tell *event* when the current transaction on *database* commits; now if there is none."""
    call_after_commit(database, partial(events.emit, event))


def call_after_commit(database: str, call: Callable[[], object]) -> None:
    """Call when the current transaction on *database* commits; now if there is none."""
    connection = connections[database]
    if connection.in_atomic_block or connection.get_autocommit():
        # A commit that is made by hand is heard by nobody; the runtime finds the jobs by itself.
        transaction.on_commit(call, using=database)


def _outcome(job: Job, now: datetime, *, at_once: bool) -> DispatchOutcome:
    due = from_column(job.scheduled_at)
    if at_once or due is None or due <= now:
        return DispatchOutcome.READY
    return DispatchOutcome.SCHEDULED


def _those(
    jobs: Sequence[Job], outcomes: Mapping[UUID, DispatchOutcome], wanted: DispatchOutcome
) -> list[Job]:
    return [job for job in jobs if outcomes[job.id] is wanted]


def _write_scheduled(database: str, jobs: Sequence[Job], now: datetime) -> None:
    ScheduledExecution.objects.using(database).bulk_create(
        (
            ScheduledExecution(
                job_id=job.id,
                backend_alias=job.backend_alias,
                queue_name=job.queue_name,
                priority=job.priority,
                executor=job.executor,
                scheduled_at=cast("datetime", job.scheduled_at),
                concurrency_key=job.concurrency_key,
                created_at=cast("datetime", django_time(now)),
            )
            for job in jobs
        ),
        batch_size=ROWS_PER_STATEMENT,
    )
