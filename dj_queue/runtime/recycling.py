"""When a stand-alone process has served long enough: `max_jobs`, `max_rss` and `max_age` of its workers.

    serving ──a limit is reached──► quiet ──nothing is held any more──► used up

A quiet process claims nothing more, and what runs in it may end, however long it takes: being replaced is
routine, and must not fail a job. Whoever runs the process ends it when it is used up. Inside a web server
nobody asks, and so the limits do nothing there.
"""

import os
import random
import sys
import time
from pathlib import Path

from dj_queue.config import WorkerConfig
from dj_queue.runtime.supervisor import Supervisor

# How often the limits are looked at.
LOOK_SECONDS = 0.1

# Processes that started together should not be replaced together.
_AGE_SPREAD = 0.1


class Recycling:
    """The limits of one supervisor; make it before the supervisor is started."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._workers = [worker.worker for worker in supervisor.workers]
        self._made_at = time.monotonic()
        self._age_factor = 1 + random.random() * _AGE_SPREAD  # noqa: S311 - not a secret
        self.reason: str | None = None
        """Which limit was reached, in words."""
        for worker in supervisor.workers:
            # Of a worker with child processes each child has served long enough after so many.
            if worker.worker.executor == "thread":
                worker.max_jobs = worker.worker.max_jobs or worker.max_jobs

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return any(
            limit is not None
            for worker in self._workers
            for limit in (worker.max_jobs, worker.max_rss, worker.max_age)
        )

    def is_used_up(self) -> bool:
        """Look at the limits, and go quiet at the first that is reached; whether all jobs have ended."""
        if self.reason is None:
            self.reason = self._reached()
            if self.reason is None:
                return False
            self._supervisor.quiesce()
        return self._supervisor.held_jobs == 0

    def _reached(self) -> str | None:
        for worker in self._supervisor.workers:
            if worker.ended >= worker.max_jobs:
                return f"{worker.ended} jobs (max_jobs is {worker.max_jobs})"
        age = time.monotonic() - self._made_at
        for config in self._workers:
            if config.max_age is not None and age >= config.max_age * self._age_factor:
                return f"an age of {age:.0f} s (max_age is {config.max_age:g})"
        return self._memory_reached()

    def _memory_reached(self) -> str | None:
        limit = _least_memory(self._workers)
        if limit is None or (found := resident_bytes()) < limit:
            return None
        return f"{found} bytes of memory (max_rss is {limit})"


def resident_bytes() -> int:
    """The memory that this process has in RAM now; where only its highest value is known, that."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return _peak_resident_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


def _peak_resident_bytes() -> int:
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes everywhere but on macOS.
    return peak if sys.platform == "darwin" else peak * 1024


def _least_memory(workers: list[WorkerConfig]) -> int | None:
    limits = [worker.max_rss for worker in workers if worker.max_rss is not None]
    return min(limits, default=None)
