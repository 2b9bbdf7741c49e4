"""What operators can do, by the names that forms send: on jobs, queues and recurring tasks.

Who may is asked in `dj_queue.admin.permissions`; here it is done, by the operations that everybody uses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Model
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from dj_queue.config import BackendConfig
from dj_queue.models import (
    BlockedExecution,
    FailedExecution,
    Job,
    ReadyExecution,
    ScheduledExecution,
)
from dj_queue.operations.again import enqueue_copies
from dj_queue.operations.discard import Waiting, discard_batch
from dj_queue.operations.retry import retry_batch
from dj_queue.operations.start import start_batch
from dj_queue.states import JobState


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an action."""

    count: int
    refused: int = 0
    """Jobs whose policy forbids it just now."""
    new_job: UUID | None = None
    """A job that was made, where it is one."""


@dataclass(frozen=True, slots=True)
class JobAction:
    """Something that can be done to jobs."""

    name: str
    label: str | Promise
    states: tuple[JobState, ...]
    apply: Callable[[BackendConfig, JobState, Sequence[UUID]], Done]
    is_destructive: bool = False
    reaches_all: bool = True
    """Whether it can be done to all jobs that match, by a job of its own."""


WAITING: Mapping[JobState, Waiting] = {
    JobState.READY: ReadyExecution,
    JobState.SCHEDULED: ScheduledExecution,
    JobState.BLOCKED: BlockedExecution,
    JobState.FAILED: FailedExecution,
}


def retry(config: BackendConfig, state: JobState, ids: Sequence[UUID]) -> Done:
    """Try failed jobs again."""
    del state
    done = retry_batch(config, job_ids=ids, batch_size=max(1, len(ids)))
    return Done(len(done.jobs), len(done.refused))


def discard(config: BackendConfig, state: JobState, ids: Sequence[UUID]) -> Done:
    """Delete jobs that wait or failed."""
    return Done(discard_batch(config, WAITING[state], job_ids=ids, batch_size=max(1, len(ids))))


def run_now(config: BackendConfig, state: JobState, ids: Sequence[UUID]) -> Done:
    """Have scheduled jobs wait for their time no longer."""
    del state
    return Done(len(start_batch(config, ids)))


def enqueue(config: BackendConfig, state: JobState, ids: Sequence[UUID]) -> Done:
    """Enqueue copies of jobs."""
    del state
    copies = enqueue_copies(config, ids)
    return Done(len(copies), new_job=copies[0].pk if len(copies) == 1 else None)


_NOT_CLAIMED = (JobState.READY, JobState.SCHEDULED, JobState.BLOCKED, JobState.FAILED)

JOB_ACTIONS: Mapping[str, JobAction] = {
    each.name: each
    for each in (
        JobAction("retry", _("Retry"), (JobState.FAILED,), retry),
        JobAction("run_now", _("Run now"), (JobState.SCHEDULED,), run_now),
        JobAction("enqueue", _("Enqueue again"), (JobState.FINISHED,), enqueue, reaches_all=False),
        JobAction("discard", _("Discard"), _NOT_CLAIMED, discard, is_destructive=True),
    )
}


def actions_for(state: str) -> list[JobAction]:
    """What can be done to jobs in *state*."""
    return [each for each in JOB_ACTIONS.values() if state in each.states]


def model_of(state: str) -> type[Model]:
    """The table of *state*, for what is logged."""
    return WAITING.get(JobState(state), Job)
