"""Task results: what Django shows of a job."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.tasks.base import TaskError, TaskResult, TaskResultStatus
from django.tasks.exceptions import TaskResultDoesNotExist

from dj_queue import arguments
from dj_queue.models import ClaimedExecution, FailedExecution, Job
from dj_queue.reads.tasks import as_enqueued, task_or_stand_in
from dj_queue.typing import AnyResult, AnyTask


def get_result(database: str, backend_alias: str, result_id: str) -> AnyResult:
    """The result with *result_id* of a backend, in one SELECT.

    Raises `TaskResultDoesNotExist` when there is none, also when *result_id* is no id at all.
    """
    try:
        job_id = UUID(str(result_id))
    except ValueError:
        raise TaskResultDoesNotExist(result_id) from None
    try:
        job = (
            Job.objects.using(database)
            .select_related("claimed_execution__process", "failed_execution")
            .get(id=job_id, backend_alias=backend_alias)
        )
    except Job.DoesNotExist:
        raise TaskResultDoesNotExist(result_id) from None
    return result_of_job(job)


def result_of_job(job: Job) -> AnyResult:
    """What Django shows of *job*, fetched together with its claim and its failure."""
    claim: ClaimedExecution | None = getattr(job, "claimed_execution", None)
    failure: FailedExecution | None = getattr(job, "failed_execution", None)
    worker_ids = list(job.worker_ids or ())
    status, finished_at = TaskResultStatus.READY, None
    started_at, last_attempted_at = job.started_at, job.last_attempted_at
    if job.finished_at is not None:
        status, finished_at = TaskResultStatus.SUCCESSFUL, job.finished_at
    elif failure is not None:
        status, finished_at = TaskResultStatus.FAILED, failure.created_at
    elif claim is not None and claim.started_at is not None:
        status = TaskResultStatus.RUNNING
        started_at = started_at or claim.started_at
        last_attempted_at = claim.started_at
        worker_ids += [claim.process.name] if claim.process else []
    args, kwargs = arguments.shown(job.payload)
    return build_result(
        task=as_enqueued(
            task_or_stand_in(job.task_path),
            priority=job.priority,
            queue_name=job.queue_name,
            run_after=job.scheduled_at,
            backend=job.backend_alias,
        ),
        job_id=job.id,
        status=status,
        enqueued_at=job.created_at,
        started_at=started_at,
        last_attempted_at=last_attempted_at,
        finished_at=finished_at,
        args=args,
        kwargs=kwargs,
        backend=job.backend_alias,
        errors=task_errors(job.errors),
        worker_ids=worker_ids,
        return_value=arguments.shown_return_value(job.return_value),
    )


def task_errors(errors: Sequence[Mapping[str, str]] | None) -> list[TaskError]:
    """The failed attempts of a job, oldest first, as Django shows them."""
    return [
        TaskError(exception_class_path=error["exception_class"], traceback=error["traceback"])
        for error in errors or ()
    ]


def build_result(
    *,
    task: AnyTask,
    job_id: UUID,
    status: TaskResultStatus,
    enqueued_at: datetime | None,
    started_at: datetime | None = None,
    last_attempted_at: datetime | None = None,
    finished_at: datetime | None = None,
    args: list[Any],
    kwargs: dict[str, Any],
    backend: str,
    errors: list[TaskError],
    worker_ids: list[str],
    return_value: Any = None,
) -> AnyResult:
    """A `TaskResult` of values that are known to be plain JSON, or restored from it.

    Its own constructor would walk the arguments once more, which in a bulk enqueue costs more than
    everything else that happens to a job. Times are given as `django_time` makes them.
    """
    result: AnyResult = object.__new__(TaskResult)
    put = object.__setattr__
    put(result, "task", task)
    put(result, "id", str(job_id))
    put(result, "status", status)
    put(result, "enqueued_at", enqueued_at)
    put(result, "started_at", started_at)
    put(result, "last_attempted_at", last_attempted_at)
    put(result, "finished_at", finished_at)
    put(result, "args", args)
    put(result, "kwargs", kwargs)
    put(result, "backend", backend)
    put(result, "errors", errors)
    put(result, "worker_ids", worker_ids)
    put(result, "_return_value", return_value)
    return result
