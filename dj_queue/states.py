"""The words for where a job is and what becomes of it."""

from enum import IntEnum, StrEnum
from typing import NamedTuple


class JobState(StrEnum):
    """Where a job is. Each live state is one table of executions; *finished* is a column of the job."""

    READY = "ready"
    """Waits for a worker."""
    SCHEDULED = "scheduled"
    """Waits for its time."""
    CLAIMED = "claimed"
    """Belongs to a worker process."""
    BLOCKED = "blocked"
    """Waits for a slot of its concurrency key."""
    FAILED = "failed"
    """Ended with an error and waits for a person or a retry."""
    FINISHED = "finished"
    """Ended well, or was discarded at once by its concurrency policy."""


class WorkflowState(StrEnum):
    """Where a workflow is."""

    RUNNING = "running"
    """The job of a step waits or runs."""
    FAILED = "failed"
    """The job of a step has failed; a retry of it goes on from there."""
    STOPPED = "stopped"
    """The job of a step was deleted; nothing goes on."""
    FINISHED = "finished"
    """All steps have ended well."""


class DispatchOutcome(StrEnum):
    """Where a job goes when it is enqueued, becomes due or is retried."""

    READY = "ready"
    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    DISCARDED = "discarded"


class Executor(IntEnum):
    """What runs a job. Ready rows carry it, so that a claim takes only what has room to run."""

    THREAD = 0
    """A thread, or a child process where the worker has those: `def` tasks."""
    ASYNC = 1
    """The worker's event loop, or a child process: `async def` tasks."""
    PROCESS = 2
    """A child process and nothing else: tasks that name `"process"`."""
    ONLY_THREAD = 3
    """A thread and nothing else: `def` tasks that name `"thread"`."""
    ONLY_ASYNC = 4
    """The event loop and nothing else: `async def` tasks that name `"thread"`."""


class Lanes(NamedTuple):
    """The executors that a worker claims for; those of one lane share its room."""

    pool: tuple[Executor, ...]
    """Run by its threads, or its child processes."""
    loop: tuple[Executor, ...]
    """Run on its event loop."""


THREAD_LANES = Lanes((Executor.THREAD, Executor.ONLY_THREAD), (Executor.ASYNC, Executor.ONLY_ASYNC))
PROCESS_LANES = Lanes((Executor.THREAD, Executor.ASYNC, Executor.PROCESS), ())

LANES = {"thread": THREAD_LANES, "process": PROCESS_LANES}
"""By the option `executor` of a worker."""
