"""The slots of concurrency keys: who gets the free ones, and who waits or is dropped.

A slot in use is a row of `dj_queue_semaphore_holders`; what is free is what the limit of the key has more.
Every change is made with the key's row of `dj_queue_semaphores` locked, in a transaction that is begun and
ended by the queue itself: of several keys the rows are locked in the order of their text, so two of these
transactions never wait for each other in a circle. The whole order of locks is: claims or scheduled rows,
jobs, semaphores, blocked rows, ready rows.

There is one way to a slot. A job with a key is written as blocked, and `settle` then hands out what is
free: to the jobs that have just come and to those that waited, by priority and then in order of arrival,
whichever backend they are of.

A slot of a rate limit has an end by the clock and belongs to no job: nothing that becomes of the job gives it
back. It is taken by the clock of after the lock, so no two of them are closer than they seem.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import batched
from typing import NamedTuple
from uuid import UUID

from dj_queue.store.records import RATE, Said, Settled, Waiter

MOST_STARTED = 10_000
"""The most jobs of one key that are made ready at once; the sweep goes on with the rest."""

ROWS_PER_STATEMENT = 1000

_ALWAYS = datetime(1970, 1, 2, tzinfo=UTC)


class KeyState(NamedTuple):
    """A key as it is now."""

    id: int
    """Of its semaphore."""
    key: str
    limit: int
    value: int
    """The free slots as the semaphore's row has them."""
    held: int
    has_impatient: bool
    """Whether there are blocked jobs that do not wait."""
    period: int | None
    """Seconds that a slot lasts; None where it lasts as long as its job."""
    seconds_to_end: float | None
    """Until the first slot ends by the clock; None when none does."""

    @property
    def free(self) -> int:
        """How many more jobs may start; below zero when the limit was lowered."""
        return self.limit - self.held


class Waiting(NamedTuple):
    """A key that jobs wait for."""

    said: Said
    """By the job that is next."""
    state: KeyState | None
    """None where there is no semaphore yet."""

    @property
    def is_due(self) -> bool:
        """Whether `settle` would find something to do, as far as can be seen without a lock."""
        return self.state is None or self.state.free > 0 or self.state.has_impatient


class Due(NamedTuple):
    """What a look at keys with waiters found."""

    said: list[Said]
    """Of those which `settle` should look at."""
    last: str | None
    """The last key that was looked at, from which to go on; None when there was none."""
    is_all: bool
    """Whether there are no keys after that."""
    seconds_to_next: float | None
    """Until the next slot of a rate limit ends for which one of the others waits; None when none does."""


class Holding(NamedTuple):
    """A slot in use."""

    id: int
    key: str


class Slots(ABC):
    """The slots of one database, on a connection that is in a transaction unless a method says otherwise."""

    def settle(self, said: Iterable[Said], *, ended: Sequence[UUID] = ()) -> Settled:
        """Give back the slots of the jobs *ended*, and hand out what is free of the keys in *said*.

        A constant number of statements for each 1000 keys or jobs. Locks the semaphores of the keys.
        """
        for ids in batched(ended, ROWS_PER_STATEMENT):
            self.give_back(ids)
        newest: dict[str, Said] = {}
        for each in sorted(said, key=lambda each: each.at):
            newest[each.key] = each
        started: list[Waiter] = []
        discarded: list[Waiter] = []
        for keys in batched(sorted(newest), ROWS_PER_STATEMENT):
            self.lock([newest[key] for key in keys])
            if any(newest[key].period for key in keys):
                self.remove_ended(keys)
            settled = self._hand_out(self.states(keys))
            started += settled.started
            discarded += settled.discarded
        return Settled(started, discarded)

    def _hand_out(self, states: Sequence[KeyState]) -> Settled:
        free = {
            state.key: max(0, state.free)
            for state in states
            if state.free > 0 or state.has_impatient
        }
        wanted = {key: min(number, MOST_STARTED) for key, number in free.items()}
        started, discarded = _share_out(self.next_waiters(wanted) if wanted else (), free)
        periods = {state.key: state.period for state in states}
        for some in batched(started, ROWS_PER_STATEMENT):
            self.start(some, periods)
        for some in batched(discarded, ROWS_PER_STATEMENT):
            self.discard(some)
        taken: dict[str, int] = defaultdict(int)
        for waiter in started:
            taken[waiter.key] += 1
        values = {state.id: state.free - taken[state.key] for state in states}
        if changed := {
            each.id: values[each.id] for each in states if values[each.id] != each.value
        }:
            self.note_values(changed)
        return Settled(started, discarded)

    def due(self, after: str, limit: int) -> Due:
        """Of up to *limit* keys with blocked jobs, those *after* a key, what `settle` should look at.

        Locks nothing and needs no transaction.
        """
        found = self.waiting(after, limit)
        # What the next one said is news only where nobody said anything: it may have waited for long.
        said = [
            each.said if each.state is None else each.said._replace(at=_ALWAYS)
            for each in found
            if each.is_due
        ]
        ends = [
            each.state.seconds_to_end
            for each in found
            if not each.is_due and each.state is not None and each.state.seconds_to_end is not None
        ]
        last = found[-1].said.key if found else None
        return Due(said, last, len(found) < limit, min(ends, default=None))

    def repair(self, leaks: Sequence[Holding]) -> tuple[int, Settled]:
        """Give back those of *leaks* that still are leaks; the number of them, and who got the slots.

        What a rate limit has of ended slots goes too, and is not counted: it is no leak.
        """
        keys = sorted({leak.key for leak in leaks})
        self.lock([unchanged(key) for key in keys])
        # Nobody takes a slot for a job without the lock, so a leak that is one now stays one.
        still = set(self.leaks_among([leak.id for leak in leaks]))
        self.remove_holders(sorted(still))
        repaired = sum(leak.id in still and not leak.key.startswith(RATE) for leak in leaks)
        return repaired, self.settle([unchanged(key) for key in keys])

    @abstractmethod
    def give_back(self, job_ids: Sequence[UUID]) -> None:
        """Delete the slots that jobs hold."""

    @abstractmethod
    def lock(self, said: Sequence[Said]) -> None:
        """Lock the semaphores of keys in the order given, making those that are missing.

        Each gets the limit and the period that are said, unless it has them from a newer job, and a later
        end.
        """

    @abstractmethod
    def states(self, keys: Sequence[str]) -> list[KeyState]:
        """The keys that have a semaphore, as they are now. Locks nothing."""

    @abstractmethod
    def next_waiters(self, wanted: Mapping[str, int]) -> list[Waiter]:
        """Of each key the first so many that wait, and all that do not; their blocked rows are locked.

        Those that wait in a queue that is paused are passed over: nobody should hold a slot there.
        """

    @abstractmethod
    def start(self, waiters: Sequence[Waiter], periods: Mapping[str, int | None]) -> None:
        """Make blocked jobs ready, in this order, each with a slot.

        Where its key has one of *periods*, the slot lasts for so many seconds and is nobody's.
        """

    @abstractmethod
    def discard(self, waiters: Sequence[Waiter]) -> None:
        """Finish blocked jobs without running them."""

    @abstractmethod
    def note_values(self, values: Mapping[int, int]) -> None:
        """Write the free slots of semaphores, by their ids."""

    @abstractmethod
    def remove_ended(self, keys: Sequence[str]) -> None:
        """Delete the slots of *keys* whose time is over; they count for nothing."""

    @abstractmethod
    def used(self, keys: Sequence[str]) -> dict[str, int]:
        """How many jobs hold a slot of each key or wait for one, unless none does. Locks nothing."""

    @abstractmethod
    def waiting(self, after: str, limit: int) -> list[Waiting]:
        """The first *limit* keys *after* a key that have blocked jobs, in order. Locks nothing."""

    @abstractmethod
    def leaks(self, after: int, limit: int) -> tuple[list[Holding], int | None]:
        """Of the first *limit* slots *after* an id, those of jobs that are neither ready nor claimed.

        And the last id looked at, None when there is none. Slots taken by hand are leaks when their time
        is over. Locks nothing.
        """

    @abstractmethod
    def leaks_among(self, holder_ids: Sequence[int]) -> list[int]:
        """Which of these slots are leaks now."""

    @abstractmethod
    def remove_holders(self, holder_ids: Sequence[int]) -> None:
        """Delete slots."""

    @abstractmethod
    def unused(self, limit: int) -> list[str]:
        """Up to *limit* keys that are past their time, and nobody uses or will use. Locks nothing."""

    @abstractmethod
    def remove_unused(self, keys: Sequence[str]) -> int:
        """Delete the semaphores of *keys*, those that still are unused; how many."""


def unchanged(key: str) -> Said:
    """Nothing new about *key*; one slot, until somebody says more, where there is no semaphore."""
    return Said(key, 1, 0, _ALWAYS)


def _share_out(
    waiters: Iterable[Waiter], free: Mapping[str, int]
) -> tuple[list[Waiter], list[Waiter]]:
    """Who gets a slot, and who is dropped because there is none left for it."""
    left = dict(free)
    started: list[Waiter] = []
    dropped: list[Waiter] = []
    for waiter in sorted(waiters, key=lambda waiter: (-waiter.priority, waiter.id)):
        if left[waiter.key] > 0:
            left[waiter.key] -= 1
            started.append(waiter)
        elif not waiter.waits:
            dropped.append(waiter)
    return started, dropped
