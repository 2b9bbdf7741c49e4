"""Jobs that are claimed and handed to an executor, but have perhaps not begun."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from dj_queue.store.records import ClaimedJob

MAX_WAIT_SECONDS = 1.0
"""A job that has not begun this long after its claim is given back, not begun.

Usually the process was stopped meanwhile (SIGSTOP, a laptop asleep): others may have taken its jobs.
"""


@dataclass(slots=True)
class HandedJob:
    """A claimed job and when this process asked for it."""

    job: ClaimedJob
    asked_at: float = field(default_factory=time.monotonic)
    """By the monotonic clock, taken before the claim was sent."""

    @property
    def waited(self) -> float:
        """Seconds since the claim was asked for."""
        return time.monotonic() - self.asked_at


class HandOver:
    """A queue of claimed jobs between the worker's thread and what runs them.

    `deque` is safe for use by many threads at once: the worker adds and takes away, executors take.
    """

    def __init__(self) -> None:
        self._waiting: deque[HandedJob] = deque()
        self._expired: deque[ClaimedJob] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, jobs: Sequence[ClaimedJob], asked_at: float) -> None:
        """Offer *jobs* to whoever runs them, in this order."""
        for job in jobs:
            job.start_by = asked_at + MAX_WAIT_SECONDS
            self._waiting.append(HandedJob(job, asked_at))

    def take(self) -> ClaimedJob | None:
        """The next job to run now; None when there is none."""
        while True:
            try:
                handed = self._waiting.popleft()
            except IndexError:
                return None
            if handed.waited <= MAX_WAIT_SECONDS:
                return handed.job
            self._expired.append(handed.job)

    def refuse(self, job: ClaimedJob) -> None:
        """A job that was taken does not begin after all; it is for `take_expired`."""
        self._expired.append(job)

    def oldest_wait(self) -> float:
        """Seconds that the job at the front has waited; 0 when there is none."""
        try:
            return self._waiting[0].waited
        except IndexError:
            return 0.0

    @property
    def has_expired(self) -> bool:
        """Whether there are jobs for `take_expired`."""
        return bool(self._expired)

    def take_expired(self) -> list[ClaimedJob]:
        """Jobs that nobody may run any more because they waited too long."""
        return [self._expired.popleft() for _ in range(len(self._expired))]

    def take_back(self) -> list[ClaimedJob]:
        """All jobs that have not begun; none of them will."""
        back = self.take_expired()
        while True:
            try:
                back.append(self._waiting.popleft().job)
            except IndexError:
                return back
