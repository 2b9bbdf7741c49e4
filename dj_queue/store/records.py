"""What goes into and comes out of a store: plain records, the same for every vendor."""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from dj_queue.selectors import QueueSelection
from dj_queue.states import THREAD_LANES, DispatchOutcome, Executor, Lanes

RATE = "rate:"
"""How the keys of rate limits begin, and no others: their slots last for a time, and not for a job."""


class Limit(NamedTuple):
    """What a job says about the key that it shares with others."""

    key: str
    limit: int
    """How many jobs with this key may be ready or running at once; of a rate, start in its period."""
    duration: int
    """Seconds for which an unused key is remembered; of a rate, its period."""

    @property
    def is_rate(self) -> bool:
        """Whether the end of the job gives no slot back."""
        return self.key.startswith(RATE)


class Said(NamedTuple):
    """A limit, and when the job that says so was enqueued: of several, the newest counts."""

    key: str
    limit: int
    duration: int
    at: datetime

    @property
    def period(self) -> int | None:
        """Seconds that a slot lasts; None where it lasts as long as its job."""
        return max(1, self.duration) if self.key.startswith(RATE) else None


@dataclass(slots=True)
class NewJob:
    """A job about to be written."""

    id: UUID
    task_path: str
    queue_name: str
    priority: int
    executor: Executor
    payload: str
    """JSON text."""
    run_after: datetime | None
    """Aware. A job whose time has come by the database's clock is ready at once."""
    limit: Limit | None = None
    discards: bool = False
    """Whether the job is dropped, and does not wait, when its key has no free slot."""
    trace_context: str | None = None
    """The carrier of the trace that enqueued it as JSON text; None when nobody traces."""


class Waiter(NamedTuple):
    """A blocked job whose turn it is, or never will be."""

    id: int
    """Of its blocked row: its place among those that wait."""
    job_id: UUID
    backend_alias: str
    queue_name: str
    priority: int
    executor: int
    key: str
    waits: bool
    """False for one that is discarded when there is no slot now."""


class Settled(NamedTuple):
    """What became of jobs that waited for slots."""

    started: Sequence[Waiter] = ()
    """They have a slot and are ready, in the order in which they became so."""
    discarded: Sequence[Waiter] = ()
    """They got no slot and are finished."""

    def queues(self, *, but: Container[UUID] = ()) -> dict[str, tuple[str, ...]]:
        """The queues that have new ready jobs, by backend; without those *but* these."""
        found: dict[str, dict[str, None]] = {}
        for waiter in self.started:
            if waiter.job_id not in but:
                found.setdefault(waiter.backend_alias, {})[waiter.queue_name] = None
        return {alias: tuple(names) for alias, names in found.items()}


class Inserted(NamedTuple):
    """What became of jobs that were written together."""

    created_at: datetime
    """By the database's clock, the same for all of them."""
    outcomes: Sequence[DispatchOutcome]
    """One for each job, in the order in which they were given."""
    settled: Settled | None = None
    """What the slots of limited jobs came to; None when that is not decided yet, or there are none."""


class Claim(NamedTuple):
    """What proves that a job is ours."""

    id: UUID
    token: int


class InsertedClaim(NamedTuple):
    """What became of a job that was to be written as claimed."""

    created_at: datetime
    is_claimed: bool
    """False when its queue is paused: then it is ready."""


@dataclass(slots=True)
class ClaimedJob:
    """A job that this process owns, as long as *token* is the one in its claim."""

    id: UUID
    token: int
    task_path: str
    queue_name: str
    priority: int
    executor: int
    payload: dict[str, Any]
    created_at: datetime
    scheduled_at: datetime | None
    worker_ids: list[str] | None
    """Workers of earlier attempts; None when this is the first."""
    errors: list[dict[str, str]] | None
    first_started_at: datetime | None
    trace_context: dict[str, str] | None = None
    """The carrier of the trace that enqueued it."""
    limit: Limit | None = None
    """Where it holds a slot, which its outcome gives back; a rate gives none back."""
    start_by: float = field(default=math.inf, compare=False)
    """By the monotonic clock of this process. One that begins later may be somebody else's by then."""

    @property
    def claim(self) -> Claim:
        """The proof that this job is ours."""
        return Claim(self.id, self.token)


class JobError(NamedTuple):
    """Why an attempt failed, fit to be stored."""

    exception_class: str
    message: str
    traceback: str


@dataclass(slots=True)
class Outcome:
    """How an attempt ended."""

    job: ClaimedJob
    started_at: datetime
    finished_at: datetime
    result: str | None = None
    """The return value as JSON text; None for None."""
    error: JobError | None = None
    has_begun: bool = True
    """False for a job that came too late to begin: nothing is to be recorded, and others may run it."""
    traceparent: str | None = None
    """The span of the attempt, kept with a failure so that the next attempt can point to it."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many jobs may be claimed for each lane."""

    threads: int
    """For the pool of threads or child processes."""
    tasks: int
    """For the event loop."""

    @property
    def total(self) -> int:
        """The most jobs that a claim may return."""
        return self.threads + self.tasks

    def __bool__(self) -> bool:
        return self.threads > 0 or self.tasks > 0


@dataclass(frozen=True, slots=True)
class Claimer:
    """On whose behalf a session claims."""

    backend_alias: str
    selection: QueueSelection
    process_id: int
    """The registered process that the claims belong to."""
    worker_name: str
    """Recorded with every attempt."""
    preserve_finished_jobs: bool = True
    use_skip_locked: bool = True
    lanes: Lanes = THREAD_LANES


class Exchange(NamedTuple):
    """The answer to "this is done, what is next?"."""

    rejected: Sequence[UUID]
    """Jobs whose outcome was not recorded, because their claim is not ours any more."""
    claimed: Sequence[ClaimedJob]
    now: datetime
    """The database's clock when the jobs were claimed."""
    settled: Settled = Settled()
    """Whom the slots that *outcomes* gave back went to; some of them may be among *claimed*."""


class Promotion(NamedTuple):
    """What a look for due jobs did."""

    promoted: int
    """How many were due; those with a concurrency key are ready only as far as there are slots."""
    queues: Sequence[str]
    """The queues that have new ready jobs."""
    seconds_to_next: float | None
    """Until the next job is due by the database's clock; None when none is scheduled."""
    settled: Settled = Settled()
    """What became of those with a concurrency key, and of others that waited for the same slots."""
    seconds_to_retry: float | None = None
    """Until the next failed job is to be retried by somebody's order; None when there is none."""
    has_blocked: bool = False
    """Whether jobs wait for slots, of whatever backend."""


class ServerConnections(NamedTuple):
    """Connections of a database server."""

    used: int
    limit: int
    """The most that it takes from users like ours."""


ROLLOUT_PROTOCOL = 1
"""What processes of one database have in common; another number may not run beside this one."""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A living process or actor, as it is registered."""

    name: str
    kind: str
    pid: int
    hostname: str
    metadata: dict[str, Any] = field(default_factory=dict)
