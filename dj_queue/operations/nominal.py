"""For which time a job of a recurring task was fired, told to its task while it runs.

The time is kept with the job, beside its arguments: asking costs no query, and jobs that are not recurring
carry nothing.
"""

from datetime import UTC, datetime

from dj_queue.current import running

NOTE = "nominal_time"
"""The key of a payload under which the time stands, as text."""


def nominal_time() -> datetime | None:
    """The time by its schedule of the recurring task whose job runs here, in UTC; else None.

    Not when the job was enqueued or began, which is always a little later, and much later for what is
    made up after a downtime. The same for each attempt. For `run_recurring_task_now` it is when that was
    called.
    """
    job = running.get()
    if job is None or NOTE not in job.job.payload:
        return None
    return datetime.fromisoformat(job.job.payload[NOTE])


def note(run_at: datetime) -> dict[str, str]:
    """What is kept with a job that is fired for *run_at*."""
    return {NOTE: run_at.astimezone(UTC).isoformat()}
