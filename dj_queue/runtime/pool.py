"""A fixed number of threads that run jobs from one queue.

Our own threads and not a `ThreadPoolExecutor`: that one makes the interpreter wait at its exit for jobs
of any length, and costs a future and a lock for each job. Here a thread that has work takes the next job
without a lock; only one that has none waits.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dj_queue.runtime import connections
from dj_queue.runtime.handed import HandOver
from dj_queue.store.records import ClaimedJob, Outcome


@dataclass(slots=True)
class _Running:
    is_busy: bool = False
    """Set before a job is taken: one that has left the queue is never seen nowhere."""
    job: ClaimedJob | None = None


class ThreadPool:
    """Threads that call *run* with each job, *ended* with its outcome, and *freed* when they have room.

    *run* never raises, and returns None for a job that does not end here. After `stop` no job begins any
    more; jobs that run are left to end.
    """

    def __init__(
        self,
        name: str,
        size: int,
        *,
        run: Callable[[ClaimedJob], Outcome | None],
        ended: Callable[[Outcome], None],
        freed: Callable[[], None],
    ) -> None:
        self.name = name
        self.size = size
        self.jobs = HandOver()
        self._run = run
        self._ended = ended
        self._freed = freed
        self._threads: list[threading.Thread] = []
        self._running: dict[int, _Running] = {}
        # Guards _stopping; threads without work wait on it.
        self._work = threading.Condition()
        self._stopping = False

    def start(self) -> None:
        """Start the threads, or replace those that died (only killing one from outside does that)."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        while len(self._threads) < self.size and not self._stopping:
            thread = threading.Thread(
                target=self._work_until_stopped,
                name=f"{self.name}-thread-{len(self._threads) + 1}",
                daemon=True,
            )
            self._threads.append(thread)
            thread.start()

    def add(self, jobs: Sequence[ClaimedJob], asked_at: float) -> None:
        """Hand over *jobs*, claimed by a request made at *asked_at* (monotonic)."""
        self.jobs.add(jobs, asked_at)
        with self._work:
            self._work.notify(len(jobs))

    @property
    def free(self) -> int:
        """Threads that neither run a job nor have one waiting for them."""
        return max(0, self.size - self.busy - len(self.jobs))

    @property
    def busy(self) -> int:
        """Threads that run a job, or are about to."""
        return sum(running.is_busy for running in tuple(self._running.values()))

    def running(self) -> list[ClaimedJob]:
        """The jobs that run now."""
        jobs = (running.job for running in tuple(self._running.values()))
        return [job for job in jobs if job is not None]

    def stop(self) -> None:
        """Let no further job begin."""
        with self._work:
            self._stopping = True
            self._work.notify_all()

    def tell_stopping(self) -> None:
        """Have jobs know that the worker is about to stop. Those in threads see for themselves."""

    def join(self, deadline: float) -> None:
        """Wait until the threads have ended, but not beyond *deadline* (monotonic)."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def abandon(self) -> list[ClaimedJob]:
        """The jobs that still run, for which nobody waits any more; a thread cannot be ended."""
        return self.running()

    def close(self, deadline: float) -> None:
        """After `stop`, the last that is asked of the pool."""
        del deadline

    def _work_until_stopped(self) -> None:
        running = self._running[threading.get_ident()] = _Running()
        try:
            while True:
                running.is_busy = True
                if self._stopping:
                    return
                job = self.jobs.take()
                if job is None:
                    running.is_busy = False
                    self._wait_for_work()
                    continue
                running.job = job
                outcome = self._run(job)
                # In this order: a job is never in neither place, and who is woken sees a free thread.
                if outcome is not None and outcome.has_begun:
                    self._ended(outcome)
                elif outcome is not None:
                    self.jobs.refuse(job)
                running.job = None
                self._after_job()
                running.is_busy = False
                self._freed()
        finally:
            self._running.pop(threading.get_ident(), None)
            self._before_end()

    def _after_job(self) -> None:
        """Called between two jobs, while the thread counts as busy."""

    def _before_end(self) -> None:
        connections.close_all()

    def _wait_for_work(self) -> None:
        if self.jobs.has_expired:
            self._freed()  # They are the worker's to give back, and nothing else would wake it.
        with self._work:
            # Looked at again under the lock: what was added since has notified nobody else.
            while not self._stopping and not len(self.jobs):
                self._work.wait()
