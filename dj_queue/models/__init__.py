"""The tables: a permanent row per job, a row in one of the executions per live job, and control tables."""

from dj_queue.models.bulk import BulkAction
from dj_queue.models.executions import (
    BlockedExecution,
    ClaimedExecution,
    FailedExecution,
    ReadyExecution,
    ScheduledExecution,
)
from dj_queue.models.job import Job
from dj_queue.models.limits import Semaphore, SemaphoreHolder
from dj_queue.models.process import Dashboard, Leadership, PastPause, Pause, Process
from dj_queue.models.recurring import RecurringExecution, RecurringTask
from dj_queue.models.statistics import Occurrence, Statistic
from dj_queue.models.workflow import Workflow

__all__ = [
    "BlockedExecution",
    "BulkAction",
    "ClaimedExecution",
    "Dashboard",
    "FailedExecution",
    "Job",
    "Leadership",
    "Occurrence",
    "PastPause",
    "Pause",
    "Process",
    "ReadyExecution",
    "RecurringExecution",
    "RecurringTask",
    "ScheduledExecution",
    "Semaphore",
    "SemaphoreHolder",
    "Statistic",
    "Workflow",
]
