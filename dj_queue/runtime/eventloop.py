"""One event loop in a thread of its own, on which `async def` tasks run side by side."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import cast

from dj_queue.runtime.handed import HandOver
from dj_queue.store.records import ClaimedJob, Outcome


class EventLoop:
    """Runs up to *size* jobs at once with *run*, calls *ended* with each outcome, *freed* when there is room.

    The loop's thread starts with the first job. Every job has a context of its own: a context variable
    set in one is not seen in another.
    """

    def __init__(
        self,
        name: str,
        size: int,
        *,
        run: Callable[[ClaimedJob], Awaitable[Outcome]],
        ended: Callable[[Outcome], None],
        freed: Callable[[], None],
    ) -> None:
        self.name = name
        self.size = size
        self.jobs = HandOver()
        self._run = run
        self._ended = ended
        self._freed = freed
        # Guards the start of the loop: several threads may enqueue its first jobs.
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._running: dict[asyncio.Task[None], ClaimedJob] = {}
        self._stopping = False
        self._may_close = False

    def add(self, jobs: Sequence[ClaimedJob], asked_at: float) -> None:
        """Hand over *jobs*, claimed by a request made at *asked_at* (monotonic)."""
        if not jobs:
            return
        self.jobs.add(jobs, asked_at)
        self._started_loop().call_soon_threadsafe(self._begin_waiting)

    @property
    def free(self) -> int:
        """How many more jobs may run."""
        return max(0, self.size - len(self._running) - len(self.jobs))

    @property
    def busy(self) -> int:
        """How many jobs run."""
        return len(self._running)

    def running(self) -> list[ClaimedJob]:
        """The jobs that run now."""
        return list(self._running.values())

    def stop(self) -> None:
        """Let no further job begin."""
        self._stopping = True

    def join(self, deadline: float) -> None:
        """Cancel what still runs, end the loop, and wait for that, but not beyond *deadline*."""
        with self._lock:
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._cancel_all)
        thread.join(max(0.05, deadline - time.monotonic()))

    def _started_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(
                    target=self._serve, args=(loop,), name=f"{self.name}-loop", daemon=True
                )
                thread.start()
                self._loop, self._thread = loop, thread
            return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while not self._may_close:
            # A job may stop the loop, and a task that it left behind may raise SystemExit, which asyncio
            # passes on to whoever runs the loop. The other jobs go on.
            with suppress(BaseException):
                loop.run_forever()
        try:
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def _begin_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping and len(self._running) < self.size:
            job = self.jobs.take()
            if job is None:
                if self.jobs.has_expired:
                    self._freed()  # They are the worker's to give back, and nothing else would wake it.
                return
            task = loop.create_task(self._run_one(job), context=contextvars.Context())
            self._running[task] = job

    async def _run_one(self, job: ClaimedJob) -> None:
        # `run` turns whatever a job does into an outcome, its own cancellation included.
        outcome = await self._run(job)
        if outcome.has_begun:
            self._ended(outcome)
        else:
            self.jobs.refuse(job)
        self._running.pop(cast("asyncio.Task[None]", asyncio.current_task()), None)
        self._freed()
        if len(self.jobs):
            self._begin_waiting()

    def _cancel_all(self) -> None:
        loop = asyncio.get_running_loop()
        for task in tuple(self._running):
            task.cancel()
        # After the cancelled tasks have had their turn.
        loop.call_later(0.01, self._close)

    def _close(self) -> None:
        self._may_close = True
        asyncio.get_running_loop().stop()
