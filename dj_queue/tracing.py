"""Where those who trace jobs take hold: around an enqueue, an attempt, the firing of a recurring task.

Events tell what has happened. A span has to be open while it happens, and its context has to be in the
job's row before that is written; so here the code calls whoever traces, instead of telling it. There is one
tracer at most. It never raises, and without one each of these functions is a look at a global.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import datetime
from typing import NamedTuple, Protocol

from dj_queue.config import BackendConfig
from dj_queue.store.records import ClaimedJob, NewJob, Outcome

_NOTHING: AbstractContextManager[object] = nullcontext()


class Firing(NamedTuple):
    """A recurring task that is due, on whose behalf jobs are enqueued."""

    key: str
    scheduled_at: datetime


firing: ContextVar[Firing | None] = ContextVar("dj_queue_firing", default=None)
"""Set around the enqueue of a recurring task: its trace begins there."""


@contextmanager
def fires(key: str, scheduled_at: datetime) -> Iterator[None]:
    """What is enqueued inside is because the recurring task *key* is due."""
    token = firing.set(Firing(key, scheduled_at))
    try:
        yield
    finally:
        firing.reset(token)


class AttemptTrace(Protocol):
    """An attempt that is being traced."""

    def end(self, outcome: Outcome) -> None:
        """The attempt ended with *outcome*. Called where it began, once."""


class Tracer(Protocol):
    """What follows jobs from their enqueue through their attempts."""

    def enqueuing(
        self, config: BackendConfig, jobs: Sequence[NewJob]
    ) -> AbstractContextManager[object]:
        """Around the writing of *jobs*; may set their `trace_context`."""

    def attempt(
        self, config: BackendConfig, worker_name: str, job: ClaimedJob
    ) -> AttemptTrace | None:
        """An attempt of *job* begins in this thread or asyncio task; None when it is not traced."""

    def bookkeeping(self) -> AbstractContextManager[object]:
        """Around statements that nobody wants to see in a trace."""

    def current_ids(self) -> tuple[str, str] | None:
        """The trace and the span of whatever runs here, as texts of hexadecimal digits."""


_tracer: Tracer | None = None


def use(tracer: Tracer | None) -> None:
    """Have *tracer* called from now on."""
    global _tracer
    _tracer = tracer


def enqueuing(config: BackendConfig, jobs: Sequence[NewJob]) -> AbstractContextManager[object]:
    """See `Tracer.enqueuing`."""
    return _NOTHING if _tracer is None else _tracer.enqueuing(config, jobs)


def attempt(config: BackendConfig, worker_name: str, job: ClaimedJob) -> AttemptTrace | None:
    """See `Tracer.attempt`."""
    return None if _tracer is None else _tracer.attempt(config, worker_name, job)


def bookkeeping() -> AbstractContextManager[object]:
    """See `Tracer.bookkeeping`."""
    return _NOTHING if _tracer is None else _tracer.bookkeeping()


def current_ids() -> tuple[str, str] | None:
    """See `Tracer.current_ids`; None where there is no span."""
    return None if _tracer is None else _tracer.current_ids()
