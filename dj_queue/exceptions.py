"""Every error this library raises or records, under one base class.

A class docstring is the default message, so `raise ProcessExitError` says something useful on its own.
"""

from typing import Any

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.tasks.exceptions import InvalidTask


class DjQueueError(Exception):
    """Something went wrong in dj_queue."""

    def __str__(self) -> str:
        if self.args:
            return super().__str__()
        return " ".join((type(self).__doc__ or type(self).__name__).split())


class ConfigurationError(DjQueueError, ImproperlyConfigured):
    """A setting of dj_queue has a value that cannot be used."""


class EnqueueError(DjQueueError):
    """The job was not accepted, and nothing of it was written."""


class InvalidEnqueue(EnqueueError, InvalidTask):
    """The queue or the priority of the task is not allowed by the backend."""


class InvalidRecurringTask(EnqueueError, ValidationError):
    """The recurring task cannot be scheduled as it was described."""

    def __init__(
        self, message: str = "", code: str | None = None, params: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()), code, params)

    def __str__(self) -> str:
        # Not Django's, which puts the message into a list.
        return str(self.message)


class InvalidSchedule(InvalidRecurringTask):
    """The text is no schedule, or one that never comes."""


class DispatchPolicyError(EnqueueError):
    """The concurrency policy of the task cannot be used."""


class PayloadError(EnqueueError, TypeError):
    """A value cannot be stored as JSON."""


class DeserializationError(DjQueueError):
    """An argument of the job cannot be restored."""


class ReturnValueError(DjQueueError, TypeError):
    """The task ended, but what it returned cannot be stored as JSON."""


class TransactionLeaked(DjQueueError):
    """The task returned with a database transaction still open; it was rolled back."""


class TaskNotImportable(DjQueueError, ImportError):
    """The path stored with the job does not lead to a task in this process."""


class RetryRefused(DjQueueError):
    """The job's policy would discard it, because its slots are taken; it stays failed."""


class NotClaimed(DjQueueError):
    """The job is not claimed by this process, or not any more."""


class UndiscardableError(DjQueueError):
    """A job that a worker holds cannot be discarded."""


class AlreadyRecorded(DjQueueError):
    """This occurrence of a recurring task has been recorded before."""


class WorkflowError(DjQueueError):
    """This is not a step of a workflow that runs."""


class ProcessExitError(DjQueueError):
    """The process that ran this job stopped before the job ended."""


class ProcessMissingError(DjQueueError):
    """The process that claimed this job is not registered."""


class ProcessPrunedError(DjQueueError):
    """The process that ran this job stopped sending heartbeats."""


class StoreUnavailable(DjQueueError):
    """The database did not answer; the work is kept and tried again."""


class UnsupportedDatabase(ConfigurationError):
    """The database of this alias is of a vendor that dj_queue has no store for."""


class LockLost(DjQueueError):
    """The lock that this process leads by is not its own any more."""


class NotStarted(DjQueueError):
    """The runtime could not be started here."""


def exception_path(error: BaseException | type[BaseException]) -> str:
    """The importable path of *error*'s class, as stored with a failed job."""
    kind = error if isinstance(error, type) else type(error)
    return f"{kind.__module__}.{kind.__qualname__}"
