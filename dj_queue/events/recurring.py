"""What happens to recurring tasks."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID


@dataclass(frozen=True, slots=True)
class RecurringTaskFired:
    """A job of a recurring task was enqueued for *run_at*, and that has committed."""

    backend: str
    key: str
    run_at: datetime
    job_id: UUID


@dataclass(frozen=True, slots=True)
class RecurringTaskFailed:
    """A recurring task could not be fired; the others were, and this one is tried again."""

    backend: str
    key: str
    error: BaseException
    retry_in: timedelta


@dataclass(frozen=True, slots=True)
class RecurringTaskRejected:
    """An entry of the settings or of a decorator cannot be used, and does not fire; the others do."""

    backend: str
    key: str
    """Empty for a module that could not be imported."""
    error: BaseException


@dataclass(frozen=True, slots=True)
class RecurringTimesMissed:
    """Times of a recurring task that have passed are not made up, because of its `catch_up`."""

    backend: str
    key: str
    since: datetime
    """The first of them, if not of those that are made up."""
    made_up: int


@dataclass(frozen=True, slots=True)
class RecurringTasksChanged:
    """Recurring tasks were added, changed or taken away, and that has committed."""

    database: str
    backend: str
