"""Log records about what people do to queues and stored jobs, and about retention."""

import logging

from dj_queue import events
from dj_queue.telemetry.fields import extra as _extra

_job = logging.getLogger("dj_queue.job")
_queue = logging.getLogger("dj_queue.queue")
_admin = logging.getLogger("dj_queue.admin")
_retention = logging.getLogger("dj_queue.retention")


def listen() -> None:
    """Subscribe; called once, by `dj_queue.telemetry.logs`."""
    events.subscribe(events.JobsRetried, _jobs_retried)
    events.subscribe(events.RetriesRefused, _retries_refused)
    events.subscribe(events.JobsDiscarded, _jobs_discarded)
    events.subscribe(events.QueuePaused, _queue_paused)
    events.subscribe(events.QueueResumed, _queue_resumed)
    events.subscribe(events.OldJobsCleared, _old_jobs_cleared)
    events.subscribe(events.OperatorActed, _operator_acted)


def _jobs_retried(event: events.JobsRetried) -> None:
    _job.info(
        "%d failed jobs of backend %s are tried again.",
        event.count,
        event.backend,
        extra=_extra(
            "job.retried",
            backend=event.backend,
            count=event.count,
            job_ids=[str(job_id) for job_id in event.job_ids],
        ),
    )


def _retries_refused(event: events.RetriesRefused) -> None:
    _job.warning(
        "%d failed jobs of backend %s were not tried again and stay failed: "
        "all slots of their concurrency keys are taken.",
        event.count,
        event.backend,
        extra=_extra(
            "job.retry_refused",
            backend=event.backend,
            count=event.count,
            job_ids=[str(job_id) for job_id in event.job_ids],
        ),
    )


def _jobs_discarded(event: events.JobsDiscarded) -> None:
    _job.info(
        "%d %s jobs of backend %s were discarded.",
        event.count,
        event.state,
        event.backend,
        extra=_extra(
            "job.discarded",
            backend=event.backend,
            count=event.count,
            state=event.state,
            job_ids=[str(job_id) for job_id in event.job_ids],
        ),
    )


def _queue_paused(event: events.QueuePaused) -> None:
    _queue.info(
        "Queue %s of backend %s is paused.",
        event.queue_name,
        event.backend,
        extra=_extra("queue.paused", backend=event.backend, queue=event.queue_name),
    )


def _queue_resumed(event: events.QueueResumed) -> None:
    _queue.info(
        "Queue %s of backend %s is not paused any more.",
        event.queue_name,
        event.backend,
        extra=_extra("queue.resumed", backend=event.backend, queue=event.queue_name),
    )


def _old_jobs_cleared(event: events.OldJobsCleared) -> None:
    _retention.info(
        "Cleared what backend %s had kept long enough: %d finished jobs, %d failed jobs, "
        "%d records of recurring tasks.",
        event.backend,
        event.finished,
        event.failed,
        event.recurring,
        extra=_extra(
            "retention.cleared",
            backend=event.backend,
            finished=event.finished,
            failed=event.failed,
            recurring=event.recurring,
        ),
    )


def _operator_acted(event: events.OperatorActed) -> None:
    _admin.info(
        "%s did %s in the admin, on backend %s: %s (%d).",
        event.user,
        event.action,
        event.backend,
        event.what,
        event.count,
        extra=_extra(
            "operator.acted",
            backend=event.backend,
            user=event.user,
            action=event.action,
            what=event.what,
            count=event.count,
        ),
    )
