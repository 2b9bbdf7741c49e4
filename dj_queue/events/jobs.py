"""What happens to jobs and queues."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class JobFailed:
    """An attempt of a job ended with an error, and that is recorded."""

    backend: str
    job_id: UUID
    task_path: str
    queue_name: str
    error_class: str
    message: str = ""
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class JobsEnqueued:
    """Jobs were written by one call, and that has committed."""

    backend: str
    jobs: Sequence[Any]
    """Each a `dj_queue.store.records.NewJob`."""


@dataclass(frozen=True, slots=True)
class JobsClaimed:
    """Jobs belong to a worker of this process now, and start at once."""

    backend: str
    worker: str
    jobs: Sequence[Any]
    """Each a `dj_queue.store.records.ClaimedJob`."""
    seconds: float | None
    """How long the claim took; None for a job that was enqueued straight to the worker."""


@dataclass(frozen=True, slots=True)
class AttemptsRecorded:
    """Attempts of jobs ended, and that is recorded: one event for all that are written together."""

    backend: str
    attempts: Sequence[Any]
    """Each a `dj_queue.store.records.Outcome`."""


@dataclass(frozen=True, slots=True)
class OutcomeRejected:
    """A job ended here, but it belongs to somebody else by now; nothing was changed."""

    backend: str
    job_id: UUID


@dataclass(frozen=True, slots=True)
class JobsReleased:
    """Claimed jobs that had not started went back to ready."""

    backend: str
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class JobsReady:
    """New ready jobs are visible to everybody: the transaction that made them has committed."""

    database: str
    backend: str
    queues: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobsUnblocked:
    """Jobs that waited for slots of their concurrency keys got them, and are ready."""

    backend: str
    jobs: tuple[tuple[UUID, str], ...]
    """Each job with its key."""


@dataclass(frozen=True, slots=True)
class SlotsRepaired:
    """Slots were given back whose jobs had ended, or were deleted, without doing so."""

    backend: str
    count: int


@dataclass(frozen=True, slots=True)
class JobsScheduled:
    """New scheduled jobs, or jobs that wait for time because of a rate limit, are visible to everybody."""

    database: str
    backend: str


@dataclass(frozen=True, slots=True)
class JobsPromoted:
    """Scheduled jobs became due and ready."""

    backend: str
    count: int


@dataclass(frozen=True, slots=True)
class JobsRetried:
    """Failed jobs are to be tried again: they wait for a worker, for their time or for a slot."""

    backend: str
    count: int
    job_ids: tuple[UUID, ...]
    queues: tuple[str, ...] = ()
    """The queue of each, in the same order."""
    trace_contexts: tuple[Mapping[str, str] | None, ...] = ()
    """The carrier of the trace that enqueued each."""


@dataclass(frozen=True, slots=True)
class RetriesRefused:
    """Jobs stay failed: their policy would discard them, because their slots are taken."""

    backend: str
    count: int
    job_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class JobsDiscarded:
    """Jobs were deleted by somebody's order."""

    backend: str
    count: int
    state: str
    """In which they all were: `ready`, `scheduled`, `blocked` or `failed`."""
    job_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class QueuePaused:
    """Jobs of a queue are not claimed any more."""

    backend: str
    queue_name: str


@dataclass(frozen=True, slots=True)
class QueueResumed:
    """Jobs of a queue that was paused are claimed again."""

    backend: str
    queue_name: str


@dataclass(frozen=True, slots=True)
class OldJobsCleared:
    """Rows that were kept long enough were deleted."""

    backend: str
    finished: int
    failed: int
    recurring: int
    """Records of the firing of recurring tasks."""


@dataclass(frozen=True, slots=True)
class OperatorActed:
    """Somebody did something in the admin."""

    backend: str
    user: str
    """The user's name."""
    action: str
    """`retry`, `discard`, `run_now`, `enqueue`, `pause`, `resume`, `clear`, `unschedule` and the like."""
    what: str
    """A job's id, a queue, a key, or the filter that chose the jobs."""
    count: int
