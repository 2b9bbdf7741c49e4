"""Log records about the way of each job: enqueued, claimed, executed, failed.

The first two are for debugging. Of success there is one line per job; where nobody reads that level, none
of these costs more than a look at it.
"""

import logging
from datetime import timedelta
from functools import partial

from dj_queue import events
from dj_queue.exceptions import (
    DispatchPolicyError,
    ProcessExitError,
    ProcessMissingError,
    ProcessPrunedError,
    ReturnValueError,
    TaskNotImportable,
)
from dj_queue.telemetry.fields import extra as _extra

_job = logging.getLogger("dj_queue.job")
_worker = logging.getLogger("dj_queue.worker")

_SECOND = timedelta(seconds=1)

_KINDS = {
    TaskNotImportable: "task_import",
    ReturnValueError: "result_serialization",
    DispatchPolicyError: "dispatch_policy",
    ProcessExitError: "runtime",
    ProcessMissingError: "runtime",
    ProcessPrunedError: "runtime",
}
_KINDS_BY_NAME = {kind.__name__: name for kind, name in _KINDS.items()}


def listen() -> None:
    """Subscribe; called once, by `dj_queue.telemetry.logs`."""
    debugs = partial(_job.isEnabledFor, logging.DEBUG)
    events.subscribe(events.JobsEnqueued, _enqueued, when=debugs)
    events.subscribe(events.JobsClaimed, _claimed)
    events.subscribe(events.AttemptsRecorded, _executed)
    events.subscribe(events.JobFailed, _failed)


def _enqueued(event: events.JobsEnqueued) -> None:
    if len(event.jobs) > 1:
        queues = sorted({job.queue_name for job in event.jobs})
        _job.debug(
            "Enqueued %d jobs of backend %s.",
            len(event.jobs),
            event.backend,
            extra=_extra(
                "jobs.enqueued", backend=event.backend, count=len(event.jobs), queues=queues
            ),
        )
        return
    for job in event.jobs:
        _job.debug(
            "Enqueued job %s (%s) in queue %s.",
            job.id,
            job.task_path,
            job.queue_name,
            extra=_extra(
                "job.enqueued",
                backend=event.backend,
                job_id=str(job.id),
                task=job.task_path,
                queue=job.queue_name,
                priority=job.priority,
            ),
        )


def _claimed(event: events.JobsClaimed) -> None:
    if not _worker.isEnabledFor(logging.DEBUG):
        return
    for job in event.jobs:
        _worker.debug(
            "Claimed job %s (%s) for %s.",
            job.id,
            job.task_path,
            event.worker,
            extra=_extra(
                "job.claimed",
                backend=event.backend,
                job_id=str(job.id),
                task=job.task_path,
                queue=job.queue_name,
                priority=job.priority,
                worker=event.worker,
            ),
        )


def _executed(event: events.AttemptsRecorded) -> None:
    if not _job.isEnabledFor(logging.INFO):
        return
    for outcome in event.attempts:
        if outcome.error is not None:
            continue
        job, seconds = outcome.job, (outcome.finished_at - outcome.started_at) / _SECOND
        _job.info(
            "Job %s (%s) succeeded in %.3f s.",
            job.id,
            job.task_path,
            seconds,
            extra=_extra(
                "job.executed",
                backend=event.backend,
                job_id=str(job.id),
                task=job.task_path,
                queue=job.queue_name,
                status="success",
                attempt=len(job.worker_ids or ()) + 1,
                duration_s=round(seconds, 6),
            ),
        )


def _failed(event: events.JobFailed) -> None:
    _job.error(
        "Job %s (%s) failed with %s.",
        event.job_id,
        event.task_path,
        event.error_class,
        extra=_extra(
            "job.failed",
            backend=event.backend,
            job_id=str(event.job_id),
            task=event.task_path,
            queue=event.queue_name,
            error_type=event.error_class,
            message=event.message,
            failure_kind=_failure_kind(event.error_class),
            attempt=event.attempt,
        ),
    )


def _failure_kind(error_class: str) -> str:
    """What went wrong in general: the task's own errors are of one kind."""
    module, _, name = error_class.rpartition(".")
    is_ours = module == "dj_queue.exceptions"
    return _KINDS_BY_NAME.get(name, "task_execution") if is_ours else "task_execution"
