"""What is told of a job whose failure is recorded."""

from dj_queue import events
from dj_queue.store.records import JobError, Outcome


def job_failed(backend: str, outcome: Outcome, error: JobError) -> events.JobFailed:
    """The event for *outcome*, which is the failure *error*."""
    job = outcome.job
    return events.JobFailed(
        backend,
        job.id,
        job.task_path,
        job.queue_name,
        error.exception_class,
        error.message,
        len(job.worker_ids or ()) + 1,
    )
