"""Enqueue: check what was asked for, write it in the caller's transaction, wake who waits."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, partial
from inspect import iscoroutinefunction
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connections, transaction
from django.utils import timezone

from dj_queue import arguments, events, payload, tracing
from dj_queue.config import BackendConfig
from dj_queue.exceptions import InvalidEnqueue
from dj_queue.ids import new_job_id, new_job_ids
from dj_queue.operations import direct, limits
from dj_queue.operations.rates import declared
from dj_queue.states import DispatchOutcome, Executor
from dj_queue.store import PartWritten, store_for
from dj_queue.store.limited import said_by, wakes_dispatchers
from dj_queue.store.records import ClaimedJob, Inserted, NewJob
from dj_queue.typing import AnyTask

type TaskCall = tuple[AnyTask, Sequence[Any], Mapping[str, Any]]


class Enqueued(NamedTuple):
    """A job that was written, with what its caller gave."""

    job: NewJob
    task: AnyTask
    args: list[Any]
    kwargs: dict[str, Any]
    created_at: datetime
    outcome: DispatchOutcome


def enqueue(
    config: BackendConfig, calls: Iterable[TaskCall], *, notes: Mapping[str, Any] | None = None
) -> list[Enqueued]:
    """What was written for each of *calls*, see `enqueue_as`."""
    return enqueue_as(config, calls, lambda enqueued: enqueued, notes=notes)


def enqueue_as[T](
    config: BackendConfig,
    calls: Iterable[TaskCall],
    make: Callable[[Enqueued], T],
    *,
    notes: Mapping[str, Any] | None = None,
) -> list[T]:
    """Write a job for each call now, all or none; what *make* makes of each, in the order given.

    Takes part in the caller's transaction on the queue's database. Everything is checked before the
    first statement. *notes* is what the library keeps with each job beside its arguments. Of many jobs
    the first may be given to *make* while the others are still being written.

    Raises `PayloadError` for arguments that cannot be stored, `DispatchPolicyError` for a concurrency
    policy that cannot be used.
    """
    calls = list(calls)
    if len(calls) == 1:
        return [make(enqueue_one(config, *calls[0], notes=notes))]
    prepared = [(task, *_arguments(config, args, kwargs, notes)) for task, args, kwargs in calls]
    if not prepared:
        return []
    # Tasks are frozen, and one is usually called many times: each is looked at once.
    tasks = {id(task): task for task, *_ in prepared}
    kinds = {key: _kind(task) for key, task in tasks.items()}
    jobs = [
        NewJob(job_id, path, queue, priority, executor, text, run_after)
        for job_id, (task, _, _, text) in zip(new_job_ids(len(prepared)), prepared, strict=True)
        for path, queue, priority, executor, run_after in (kinds[id(task)],)
    ]
    is_limited = _limit(config, tasks, calls, jobs)
    made: list[T] = []
    written = zip(jobs, prepared, strict=True)

    def make_next(created_at: datetime, outcomes: Sequence[DispatchOutcome]) -> None:
        made.extend(
            make(Enqueued(job, task, args, kwargs, created_at, outcome))
            # Asked last, so that no job is taken for which there is no outcome.
            for outcome, (job, (task, args, kwargs, _)) in zip(outcomes, written, strict=False)
        )

    with tracing.enqueuing(config, jobs):
        inserted = _insert_limited(config, jobs) if is_limited else _insert(config, jobs, make_next)
    _tell_after_commit(config, jobs)
    make_next(inserted.created_at, inserted.outcomes[len(made) :])
    return made


def enqueue_one(
    config: BackendConfig,
    task: AnyTask,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    notes: Mapping[str, Any] | None = None,
    job_id: UUID | None = None,
) -> Enqueued:
    """As `enqueue_as`, for one call, with *job_id* for an id if there is one.

    Most enqueues are of one job, and what serves many would be half of their time in this process. One
    job may also go straight into a free place of this process.
    """
    plain_args, plain_kwargs, text = _arguments(config, args, kwargs, notes)
    path, queue, priority, executor, run_after = _kind(task)
    job = NewJob(job_id or new_job_id(), path, queue, priority, executor, text, run_after)
    limit = declared(config, task)
    if limit is not None:
        job.limit, job.discards = limit.resolve(args, kwargs)
    jobs = (job,)
    with tracing.enqueuing(config, jobs):
        inserted = (
            _insert_directly(config, job) or _insert(config, jobs, None)
            if limit is None
            else _insert_limited(config, jobs)
        )
    _tell_after_commit(config, jobs)
    return Enqueued(job, task, plain_args, plain_kwargs, inserted.created_at, inserted.outcomes[0])


def _tell_after_commit(config: BackendConfig, jobs: Sequence[NewJob]) -> None:
    """Say what was enqueued, to whoever listens, once that cannot be undone any more."""
    # Those who count say so in the options: to ask each backend of every enqueue would take longer.
    is_wanted = config.options.statistics_enqueued or events.is_wanted(events.JobsEnqueued)
    if is_wanted and _hears_commits(config.options.database_alias):
        enqueued = events.JobsEnqueued(config.alias, jobs)
        transaction.on_commit(partial(events.emit, enqueued), using=config.options.database_alias)


def _limit(
    config: BackendConfig,
    tasks: Mapping[int, AnyTask],
    calls: Sequence[TaskCall],
    jobs: Sequence[NewJob],
) -> bool:
    """Give those of *jobs* a limit whose tasks have one; whether there are any."""
    limited = {key: found for key, task in tasks.items() if (found := declared(config, task))}
    if not limited:
        return False
    for job, (task, args, kwargs) in zip(jobs, calls, strict=True):
        if (found := limited.get(id(task))) is not None:
            job.limit, job.discards = found.resolve(args, kwargs)
    return True


def _insert_limited(config: BackendConfig, jobs: Sequence[NewJob]) -> Inserted:
    database = config.options.database_alias
    inserted = store_for(database).insert_limited(config.alias, jobs)
    if inserted.settled is None:
        said = said_by(jobs, inserted.outcomes, inserted.created_at)
        limits.settle_after_commit(database, said)
    else:
        limits.tell(database, inserted.settled, enqueued=[job.id for job in jobs])
    # Of limited jobs that are ready, the above has told.
    others = [
        (job, outcome)
        for job, outcome in zip(jobs, inserted.outcomes, strict=True)
        if job.limit is None or outcome is not DispatchOutcome.READY
    ]
    _wake_after_commit(config, [job for job, _ in others], [outcome for _, outcome in others])
    return inserted


def _insert(config: BackendConfig, jobs: Sequence[NewJob], written: PartWritten | None) -> Inserted:
    inserted = store_for(config.options.database_alias).insert(config.alias, jobs, written)
    _wake_after_commit(config, jobs, inserted.outcomes)
    return inserted


def _insert_directly(config: BackendConfig, job: NewJob) -> Inserted | None:
    """Start a job in a free place of this process; None when it has to go the usual way."""
    database = config.options.database_alias
    if job.run_after is not None or not direct.is_offered() or not _commits_at_once(database):
        return None
    place = direct.reserve(database, config.alias, job.queue_name, job.executor)
    if place is None:
        return None
    try:
        created_at, is_claimed = store_for(database).insert_claimed(
            config.alias, job, process_id=place.process_id, token=place.token
        )
    except BaseException:
        place.give_up(in_doubt=True)
        raise
    if is_claimed:
        place.take(_claimed(job, place.token, created_at))
    else:
        place.give_up()
    return Inserted(created_at, (DispatchOutcome.READY,))


def _hears_commits(database: str) -> bool:
    return connections[database].in_atomic_block or connections[database].get_autocommit()


def _commits_at_once(database: str) -> bool:
    connection = connections[database]
    return not connection.in_atomic_block and connection.get_autocommit()


def _claimed(job: NewJob, token: int, created_at: datetime) -> ClaimedJob:
    return ClaimedJob(
        id=job.id,
        token=token,
        task_path=job.task_path,
        queue_name=job.queue_name,
        priority=job.priority,
        executor=job.executor,
        # Read from the text: what the task gets must not be what its caller still holds.
        payload=json.loads(job.payload),
        created_at=created_at,
        scheduled_at=None,
        worker_ids=None,
        errors=None,
        first_started_at=None,
        trace_context=None if job.trace_context is None else json.loads(job.trace_context),
    )


def storable_arguments(
    config: BackendConfig, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A copy of the arguments of a call; raises `PayloadError` when it could not be enqueued."""
    plain_args, plain_kwargs, _ = _arguments(config, args, kwargs)
    return tuple(plain_args), plain_kwargs


def storable_payload(
    config: BackendConfig, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The payload that a job with these arguments would have; raises `PayloadError` as its enqueue would."""
    _, _, text = _arguments(config, args, kwargs)
    stored: dict[str, Any] = json.loads(text)
    return stored


def _arguments(
    config: BackendConfig,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    notes: Mapping[str, Any] | None = None,
) -> tuple[list[Any], dict[str, Any], str]:
    options = config.options
    dump = arguments.dump_arguments if options.rich_arguments else payload.dump_arguments
    return dump(args, kwargs, max_bytes=options.max_payload_bytes, notes=notes)


def _kind(task: AnyTask) -> tuple[str, str, int, Executor, datetime | None]:
    """What a job has from its task: path, queue, priority, executor and time."""
    return (
        task.module_path,
        task.queue_name,
        int(task.priority),
        _executor(task.func),
        _aware(due_time(task.run_after)),
    )


def _executor(function: Any) -> Executor:
    """See `dj_queue.api.executor`."""
    is_async = _is_async(function)
    match getattr(function, "dj_queue_executor", None):
        case "process":
            return Executor.PROCESS
        case "thread":
            return Executor.ONLY_ASYNC if is_async else Executor.ONLY_THREAD
    return Executor.ASYNC if is_async else Executor.THREAD


@cache
def _is_async(function: Any) -> bool:
    # Asked in each enqueue, and `inspect` takes a microsecond to look through all kinds of wrappers.
    return iscoroutinefunction(function)


def due_time(run_after: datetime | timedelta | None) -> datetime | None:
    """The moment that a task's `run_after` means now; a `timedelta` counts from the enqueue.

    Raises `InvalidEnqueue` for a moment that there is not.
    """
    if not isinstance(run_after, timedelta):
        return run_after
    try:
        return timezone.now() + run_after
    except OverflowError:
        raise InvalidEnqueue(f"run_after is {run_after!r}, which is too far away") from None


def _aware(moment: datetime | None) -> datetime | None:
    # With USE_TZ off, Django's times are naive and local.
    if moment is None or timezone.is_aware(moment):
        return moment
    return timezone.make_aware(moment, timezone.get_default_timezone())


def _wake_after_commit(
    config: BackendConfig, jobs: Sequence[NewJob], outcomes: Sequence[DispatchOutcome]
) -> None:
    """Tell the runtime of this process, if it has one, once the jobs can be seen."""
    database = config.options.database_alias
    hears_ready = events.is_wanted(events.JobsReady)
    hears_scheduled = events.is_wanted(events.JobsScheduled)
    if not (hears_ready or hears_scheduled) or not _hears_commits(database):
        return  # Nobody hears a commit that is made by hand; the runtime finds the jobs by itself.
    if hears_ready and DispatchOutcome.READY in outcomes:
        placed = zip(jobs, outcomes, strict=True)
        queues = tuple(
            dict.fromkeys(job.queue_name for job, place in placed if place is DispatchOutcome.READY)
        )
        ready = events.JobsReady(database, config.alias, queues)
        transaction.on_commit(partial(events.emit, ready), using=database)
    if hears_scheduled and (
        DispatchOutcome.SCHEDULED in outcomes
        # Asked of jobs with a limit only: the others may be very many.
        or (DispatchOutcome.BLOCKED in outcomes and wakes_dispatchers(jobs, outcomes))
    ):
        scheduled = events.JobsScheduled(database, config.alias)
        transaction.on_commit(partial(events.emit, scheduled), using=database)
