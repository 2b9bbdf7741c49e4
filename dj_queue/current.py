"""Which job runs here: in this thread, in this asyncio task, and in what asgiref calls from it."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # A project's LOGGING leads here before there are apps, which the store wants.
    from dj_queue.store.records import ClaimedJob


class RunningJob:
    """A job while one of its attempts runs."""

    __slots__ = ("backend", "is_stopping", "job", "worker")

    def __init__(
        self, backend: str, worker: str, job: "ClaimedJob", is_stopping: Callable[[], bool]
    ) -> None:
        self.backend = backend
        self.worker = worker
        """The name of the worker that runs it."""
        self.job = job
        self.is_stopping = is_stopping
        """Whether that worker claims nothing more and waits for its jobs to end."""

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return len(self.job.worker_ids or ()) + 1


running: ContextVar[RunningJob | None] = ContextVar("dj_queue_running_job", default=None)
"""None outside of jobs, and in threads that a task starts by itself."""

bookkeeping_of: ContextVar[str | None] = ContextVar("dj_queue_bookkeeping_of", default=None)
"""In the threads of the runtime whose statements interest nobody (polling, heartbeats), the backend."""
