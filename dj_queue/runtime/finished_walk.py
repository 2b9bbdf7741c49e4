"""Finds finished jobs to delete: a walk along the key of jobs, in order of their enqueue.

The walk follows the time: it goes on from where it stopped up to jobs enqueued a little before those
that may be old enough. The little (`_lag`) is for jobs to finish: most that are passed are old enough then.
What is passed and stays, because it had failed, waited, run or ended late, is looked at again: see `Left`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from dj_queue.config import BackendConfig
from dj_queue.operations import cleanup
from dj_queue.operations.stretches import Page, clear_page
from dj_queue.store import store_for

_LONGEST_WAIT_SECONDS = 3600.0
# Of the time, for what is read in vain.
_SHARE = 0.01
# So many batches are looked at in one statement where there is nothing to delete: in a process that is busy
# running jobs, it is the number of statements that takes the time.
_STRIDES = 8
# How old the database's time may be: a job that is due a little later goes a little later.
_CLOCK_SECONDS = 0.5


def look_every(after_seconds: float) -> float:
    """Seconds between two looks for what is kept for *after_seconds*; a tenth of that is how late some go."""
    return min(60.0, max(1.0, after_seconds / 10))


@dataclass(slots=True)
class Left:
    """A stretch of the key behind the walk, from the last job of the stretch before it.

    Waiting jobs mostly end in the order in which they were enqueued. So where some have ended, more will
    have soon, and the next ones too: the looks follow the front of a backlog that is worked off. Where none
    has, the next look is after twice the time.
    """

    last: UUID
    jobs: int
    """How many stayed."""
    look_at: float
    wait: float
    """Seconds from the last look to the next."""
    reading: float = 0.0
    """Seconds that the last look took, as far as it was in vain."""

    def join(self, following: "Left") -> None:
        """Become one with the stretch that follows; one without jobs has no say in when to look."""
        if following.jobs and self.jobs:
            self.look_at = min(self.look_at, following.look_at)
            self.wait = min(self.wait, following.wait)
        elif following.jobs:
            self.look_at, self.wait = following.look_at, following.wait
        self.last = following.last
        self.jobs += following.jobs
        self.reading += following.reading


class FinishedWalk:
    """Deletes finished jobs of *config*'s backend, a batch at a time; for one thread.

    The stretches left behind cover the whole key up to where the walk is, so that a job is found too whose
    transaction committed after the walk had passed its id.
    """

    name = "finished"

    def __init__(
        self,
        config: BackendConfig,
        after_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._after_seconds = after_seconds
        self._clock = clock
        self._lag = timedelta(seconds=min(600.0, after_seconds / 10))
        self._look_every = look_every(after_seconds)
        self._longest_wait = min(_LONGEST_WAIT_SECONDS, max(1.0, after_seconds / 10))
        self._place: UUID | None = None
        self._walk_at = clock()
        self._left: list[Left] = []
        self._stride = 1
        self._is_walks_turn = True
        self._read: tuple[datetime, float] | None = None

    @property
    def is_due(self) -> bool:
        """Whether there may be something to delete now."""
        return self.seconds_to_look <= 0

    @property
    def seconds_to_look(self) -> float:
        """Until it is due again."""
        look_at = min((left.look_at for left in self._left), default=self._walk_at)
        return max(0.0, min(look_at, self._walk_at) - self._clock())

    def clear_batch(self, size: int) -> int:
        """Look at up to *size* jobs, and delete those that are old enough; how many."""
        now = self._clock()
        due = (place for place, left in enumerate(self._left) if now >= left.look_at)
        place, walks = next(due, None), now >= self._walk_at
        # By turns: with a million jobs before it the walk is long, and what it has passed ends meanwhile.
        if walks and (place is None or self._is_walks_turn):
            self._is_walks_turn = False
            return self._walk_on(size)
        self._is_walks_turn = True
        return 0 if place is None else self._look_again(place, size)

    def _walk_on(self, size: int) -> int:
        began = self._clock()
        cutoff = self._cutoff()
        end = cleanup.end_of_walk(cutoff - self._lag)
        page = clear_page(
            self._config,
            cutoff,
            after=self._place,
            before=end,
            size=size,
            most=self._stride * size,
        )
        self._stride = 1 if page.cleared else min(_STRIDES, self._stride * 2)
        now = self._clock()
        if page.last is None:
            self._walk_at = now + self._look_every
        place = page.last or end
        if self._place is None or place > self._place:
            self._place = place
            reading = _in_vain(page, now - began)
            self._left.append(
                Left(place, page.left, now + self._look_every, self._look_every, reading)
            )
            self._join(len(self._left) - 2, size)
        return page.cleared

    def _look_again(self, place: int, size: int) -> int:
        """Look at the stretch at *place*, as much of it as fits in a batch."""
        began = self._clock()
        left = self._left[place]
        after = self._left[place - 1].last if place else None
        end = UUID(int=left.last.int + 1)
        page = clear_page(
            self._config,
            self._cutoff(),
            after=after,
            before=end,
            size=size,
            most=min(_STRIDES * size, left.jobs),
        )
        if page.last is not None and page.last < left.last:
            # Not seen yet: as good as full.
            jobs = max(size, left.jobs - page.cleared - page.left)
            rest = Left(left.last, jobs, left.look_at, left.wait)
            self._left.insert(place + 1, rest)
            left.last = page.last
        now = self._clock()
        left.jobs, left.reading = page.left, _in_vain(page, now - began)
        if page.cleared:
            left.wait = self._look_every
            self._expect(place + 1, now)
        else:
            left.wait = min(2 * left.wait, self._longest_to_wait())
        left.look_at = now + left.wait
        self._join(place, size)
        self._join(place - 1, size)
        return page.cleared

    def _expect(self, place: int, now: float) -> None:
        """Look at the stretch at *place* next, and soon again if nothing comes of it."""
        if place < len(self._left):
            following = self._left[place]
            following.look_at, following.wait = now, self._look_every / 2

    def _longest_to_wait(self) -> float:
        """From look to look at the most: the longer, the more there is to read in vain."""
        return max(self._longest_wait, sum(left.reading for left in self._left) / _SHARE)

    def _join(self, place: int, size: int) -> None:
        """Have the stretch at *place* be one with the next, if a batch holds what stayed in both."""
        if place < 0 or place + 1 >= len(self._left):
            return
        if self._left[place].jobs + self._left[place + 1].jobs <= size:
            self._left[place].join(self._left.pop(place + 1))

    def _cutoff(self) -> datetime:
        now = self._clock()
        if self._read is None or now - self._read[1] > _CLOCK_SECONDS:
            self._read = store_for(self._config.options.database_alias).now(), now
        return cleanup.cutoff_at(self._read[0], self._after_seconds)


def _in_vain(page: Page, seconds: float) -> float:
    """The part of *seconds* that a look took for nothing; what was deleted was worth its time."""
    return seconds * (1 - page.cleared / max(1, page.cleared + page.left))
