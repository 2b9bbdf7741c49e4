"""For a project's logging: which job, and which trace, a record belongs to.

Imported by the settings (`LOGGING`), before there is an app: nothing here may need one.
"""

import logging
from collections.abc import MutableMapping
from typing import Any

from django.conf import settings

from dj_queue import current, tracing

# Of Django's --verbosity, which goes from 0 to 3.
_VERBOSE = 2


class JobContextFilter(logging.Filter):
    """Adds job and trace to every record that is made while a job runs; lets all records pass.

    To be put on handlers, not on loggers: a logger's filters do not see what its children log. Records get
    `djq_job_id`, `djq_task`, `djq_queue`, `djq_backend`, `djq_worker`, `djq_attempt`, `djq_trace_id` and
    `djq_span_id`. What there is not is *missing*; what a record says of itself stays.
    """

    def __init__(self, name: str = "", missing: object = None) -> None:
        super().__init__(name)
        self._missing = missing

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what is known here; always True."""
        for name, value in job_context().items():
            if not hasattr(record, name):
                setattr(record, name, self._missing if value is None else value)
        return True


def add_job_context(
    logger: object, method_name: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The same as a processor of structlog: adds what there is."""
    del logger, method_name
    for name, value in job_context().items():
        if value is not None:
            event_dict.setdefault(name, value)
    return event_dict


def log_to_standard_error(verbosity: int) -> None:
    """For a command in a project that says nothing of logging: show more as *verbosity* grows.

    At 0 and 1 that is what Python shows by itself, warnings and errors; at 2 a line for each job that ended;
    at 3 everything.
    """
    logger = logging.getLogger("dj_queue")
    if verbosity <= 1 or settings.LOGGING or logger.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbosity == _VERBOSE else logging.DEBUG)


def job_context() -> dict[str, str | int | None]:
    """What `JobContextFilter` adds; None for what there is not.

    The trace is that of the current span. Where nobody makes spans, it is the one in which the job was
    enqueued, if somebody did there.
    """
    running = current.running.get()
    trace_id, span_id = _trace(running)
    return {
        "djq_job_id": str(running.job.id) if running else None,
        "djq_task": running.job.task_path if running else None,
        "djq_queue": running.job.queue_name if running else None,
        "djq_backend": running.backend if running else None,
        "djq_worker": running.worker if running else None,
        "djq_attempt": running.attempt if running else None,
        "djq_trace_id": trace_id,
        "djq_span_id": span_id,
    }


def _trace(running: current.RunningJob | None) -> tuple[str | None, str | None]:
    if (ids := tracing.current_ids()) is not None:
        return ids
    carrier = running.job.trace_context if running else None
    parts = carrier.get("traceparent", "").split("-") if carrier else []
    return (parts[1] if len(parts) > 3 else None), None
