"""What scripts, shells and admin pages do with stored jobs: the documented import path.

Everything takes the backend as `backend_alias`, and a job as its id, the text of that, or the `Job`. Each
call takes part in the caller's transaction on the queue's database, where there is one.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from dj_queue.config import backend_config
from dj_queue.exceptions import InvalidEnqueue
from dj_queue.ids import read_job_id
from dj_queue.models import (
    BlockedExecution,
    FailedExecution,
    Job,
    ReadyExecution,
    ScheduledExecution,
)
from dj_queue.operations import retry, start
from dj_queue.operations.again import enqueue_again
from dj_queue.operations.claiming import (
    ClaimedJob,
    claim_ready_jobs,
    complete_claimed_job,
    execute_claimed_job,
    fail_claimed_job,
    fail_claimed_jobs_for_pid,
    fail_claimed_jobs_for_process,
    fail_orphaned_claimed_jobs,
    prune_stale_processes,
)
from dj_queue.operations.discard import discard_batch
from dj_queue.operations.enqueue import TaskCall, enqueue, enqueue_one
from dj_queue.states import DispatchOutcome
from dj_queue.typing import AnyTask

__all__ = [
    "ClaimedJob",
    "claim_ready_jobs",
    "complete_claimed_job",
    "discard_blocked_jobs",
    "discard_failed_job",
    "discard_failed_jobs",
    "discard_ready_jobs",
    "discard_ready_jobs_for_queue",
    "discard_scheduled_jobs",
    "dispatch_scheduled_job_now",
    "enqueue_job",
    "enqueue_job_again",
    "enqueue_job_with_dispatch",
    "enqueue_jobs_bulk",
    "execute_claimed_job",
    "fail_claimed_job",
    "fail_claimed_jobs_for_pid",
    "fail_claimed_jobs_for_process",
    "fail_orphaned_claimed_jobs",
    "promote_failed_job_retries",
    "promote_scheduled_jobs",
    "prune_stale_processes",
    "retry_failed_job",
    "retry_failed_jobs",
    "schedule_failed_job_retry",
]


def enqueue_job(
    task: AnyTask,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    job_id: UUID | str | None = None,
    backend_alias: str = "default",
) -> Job:
    """Enqueue a call of *task*; its job. Like `task.enqueue`, without Django's signal.

    *job_id* is the id that it is to have: a UUID of version 7, since jobs are kept and cleared in the order
    of their ids. Raises `InvalidEnqueue` for any other, `IntegrityError` when there is a job with it.
    """
    if job_id is None:
        return enqueue_job_with_dispatch(task, args, kwargs, backend_alias=backend_alias)[0]
    config = backend_config(backend_alias)
    enqueue_one(config, task, args, kwargs or {}, job_id=_time_ordered(job_id))
    return Job.objects.using(config.options.database_alias).get(id=job_id)


def _time_ordered(job_id: UUID | str) -> UUID:
    try:
        found = read_job_id(job_id)
    except ValueError as error:
        raise InvalidEnqueue(f"job_id: {error}") from error
    if found.version != 7:
        raise InvalidEnqueue(
            f"job_id: expected a UUID of version 7, which begins with the time, found {found} of version "
            f"{found.version}"
        )
    return found


def enqueue_job_with_dispatch(
    task: AnyTask,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    backend_alias: str = "default",
) -> tuple[Job, DispatchOutcome]:
    """Enqueue a call of *task*; its job, and where it went."""
    [(job, _, outcome)] = enqueue_jobs_bulk(
        [(task, args, kwargs or {})], backend_alias=backend_alias
    )
    return job, outcome


def enqueue_jobs_bulk(
    task_calls: Iterable[TaskCall], *, backend_alias: str = "default"
) -> list[tuple[Job, AnyTask, DispatchOutcome]]:
    """Enqueue all calls or none: the job of each with its task and where it went, in the order given."""
    config = backend_config(backend_alias)
    written = list(enqueue(config, task_calls))
    jobs = Job.objects.using(config.options.database_alias).in_bulk(
        [each.job.id for each in written]
    )
    return [(jobs[each.job.id], each.task, each.outcome) for each in written]


def enqueue_job_again(
    job_id: object, *, run_after: datetime | None = None, backend_alias: str = "default"
) -> Job:
    """Enqueue a fresh copy of a job, whatever its state; the new one. The old one is left alone.

    *run_after* replaces the time of the old one. Raises `Job.DoesNotExist`.
    """
    return enqueue_again(backend_config(backend_alias), job_id, run_after=run_after)


def promote_scheduled_jobs(
    *, batch_size: int, use_skip_locked: bool | None = None, backend_alias: str = "default"
) -> list[Job]:
    """Dispatch up to *batch_size* scheduled jobs whose time has come; those jobs.

    *use_skip_locked* means nothing any more: rows that others hold are passed over where that is possible.
    """
    del use_skip_locked
    return start.start_due(backend_config(backend_alias), batch_size=batch_size)


def dispatch_scheduled_job_now(
    job_id: object, *, backend_alias: str = "default"
) -> tuple[Job, DispatchOutcome]:
    """Have a scheduled job wait for its time no longer; the job and where it went.

    Raises `EnqueueError` when it is not scheduled.
    """
    return start.start_now(backend_config(backend_alias), job_id)


def retry_failed_job(job_id: object, *, backend_alias: str = "default") -> Job:
    """Try a failed job again; the job. See `dj_queue.operations.retry.retry_one` for the errors."""
    return retry.retry_one(backend_config(backend_alias), job_id)


def retry_failed_jobs(
    *,
    job_ids: Iterable[object] | None = None,
    batch_size: int = 500,
    backend_alias: str = "default",
) -> int:
    """Try up to *batch_size* failed jobs again, of *job_ids* if given; how many.

    Those that are not failed, or that their policy would discard because their slots are taken, are
    passed over.
    """
    done = retry.retry_batch(backend_config(backend_alias), job_ids=job_ids, batch_size=batch_size)
    return len(done.jobs)


def schedule_failed_job_retry(
    job_id: object, *, retry_at: datetime, backend_alias: str = "default"
) -> Job:
    """Have the dispatcher retry a failed job at *retry_at*; the job, which stays failed until then."""
    return retry.schedule_retry(backend_config(backend_alias), job_id, retry_at)


def promote_failed_job_retries(*, batch_size: int, backend_alias: str = "default") -> list[Job]:
    """Retry up to *batch_size* failed jobs whose `retry_at` has come; those jobs."""
    return retry.retry_due(backend_config(backend_alias), batch_size=batch_size)


def discard_failed_job(job_id: object, *, backend_alias: str = "default") -> int:
    """Delete a failed job; 1, or 0 when it is not failed."""
    return discard_failed_jobs(job_ids=[job_id], backend_alias=backend_alias)


def discard_failed_jobs(
    *,
    job_ids: Iterable[object] | None = None,
    batch_size: int = 500,
    backend_alias: str = "default",
) -> int:
    """Delete up to *batch_size* failed jobs, of *job_ids* if given; how many. Other ids are ignored."""
    config = backend_config(backend_alias)
    return discard_batch(config, FailedExecution, job_ids=job_ids, batch_size=batch_size)


def discard_ready_jobs(
    *,
    job_ids: Iterable[object] | None = None,
    batch_size: int = 500,
    backend_alias: str = "default",
) -> int:
    """Delete up to *batch_size* ready jobs, of *job_ids* if given; how many. Their slots become free."""
    config = backend_config(backend_alias)
    return discard_batch(config, ReadyExecution, job_ids=job_ids, batch_size=batch_size)


def discard_ready_jobs_for_queue(
    queue_name: str, *, batch_size: int = 500, backend_alias: str = "default"
) -> int:
    """Delete up to *batch_size* ready jobs of a queue; how many."""
    config = backend_config(backend_alias)
    return discard_batch(config, ReadyExecution, queue_name=queue_name, batch_size=batch_size)


def discard_scheduled_jobs(
    *,
    job_ids: Iterable[object] | None = None,
    batch_size: int = 500,
    backend_alias: str = "default",
) -> int:
    """Delete up to *batch_size* scheduled jobs, of *job_ids* if given; how many."""
    config = backend_config(backend_alias)
    return discard_batch(config, ScheduledExecution, job_ids=job_ids, batch_size=batch_size)


def discard_blocked_jobs(
    *,
    job_ids: Iterable[object] | None = None,
    batch_size: int = 500,
    backend_alias: str = "default",
) -> int:
    """Delete up to *batch_size* jobs that wait for a slot, of *job_ids* if given; how many."""
    config = backend_config(backend_alias)
    return discard_batch(config, BlockedExecution, job_ids=job_ids, batch_size=batch_size)
