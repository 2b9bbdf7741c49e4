"""Who does the work of a role that only one process should do: a lock per backend and role.

                    try_acquire                         release
        free ─────────────────────────► held ─────────────────────────► free
                                         │  LockLost, or a database error
                                         └────────────────────────────► free (`abandon`)

A lock belongs to one session and lives as long as the session's connection: work is done on the very
connection that holds it, so what a leader writes after it lost the lock is refused by the database. While
it is held the session never connects again by itself, because the new connection would not hold it.

PostgreSQL and MySQL have locks of sessions. SQLite has none, and behind a transaction pooler one client's
lock belongs to all; there the row of the leader is a lease, which is checked in the transaction that writes.
"""

import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from dj_queue.store.wake import WakeSignal

PROGRESS_SECONDS = 10.0
"""Between two writes that say that the leader gets on."""

SILENCE_SECONDS = 5.0
"""How long a server leaves the lock to a connection on which nothing happens: its leader was stopped."""


class Holder(NamedTuple):
    """Who holds a lock, as told to people."""

    process_name: str
    pid: int
    hostname: str


class LeaderLock(ABC):
    """One session's claim to the work of *role*. For the thread of its session only.

    Every method may raise `django.db.Error`; after that and after `LockLost`, `abandon` it.
    """

    beat_seconds: float
    """The longest that a leader may keep from proving that it lives."""

    def __init__(self, backend_alias: str, role: str, holder: Holder) -> None:
        self.backend_alias = backend_alias
        self.role = role
        self.holder = holder
        self.term: int | None = None
        """Counts the changes of the leader; None while this lock is not held."""
        self._next_beat = 0.0
        self._next_progress = 0.0

    @property
    def mine(self) -> tuple[str, str, str, int | None]:
        """What finds the row while it is ours: backend, role, process and term.

        The term alone would not do: when somebody deletes the row, the next leader begins with 1 again.
        """
        return (self.backend_alias, self.role, self.holder.process_name, self.term)

    @property
    def is_held(self) -> bool:
        """Whether it was acquired, and not lost as far as anybody has told us."""
        return self.term is not None

    def try_acquire(self) -> bool:
        """Take the lock if it is free, and write down who leads; whether it is ours now."""
        self.term = self._take()
        if self.term is None:
            return False
        self._next_progress = time.monotonic() + PROGRESS_SECONDS
        self._proved()
        return True

    @property
    def seconds_to_beat(self) -> float:
        """In how many seconds the holder has to `beat`."""
        return max(0.0, min(self._next_beat, self._next_progress) - time.monotonic())

    def beat(self) -> None:
        """Prove that the lock is still ours and that its holder lives. Raises `LockLost`."""
        is_progress_due = time.monotonic() >= self._next_progress
        self._prove(tells_progress=is_progress_due)
        if is_progress_due:
            self._next_progress = time.monotonic() + PROGRESS_SECONDS
        self._proved()

    def work(self) -> AbstractContextManager[None]:
        """The role's work goes in here, on the session of this lock. Raises `LockLost`."""
        return nullcontext()

    @abstractmethod
    def wait(self, wake: WakeSignal) -> None:
        """Sleep until it may be worth trying to acquire, or *wake* is set. Not while held."""

    @abstractmethod
    def release(self) -> None:
        """Give the lock up, so that another may have it at once."""

    @abstractmethod
    def abandon(self) -> None:
        """Forget the lock and close the session, which connects again at its next use. Never raises."""

    @abstractmethod
    def _take(self) -> int | None:
        """Take the lock and write the row; the term, or None if another has it."""

    @abstractmethod
    def _prove(self, *, tells_progress: bool) -> None:
        """See that the lock is ours, and with *tells_progress* write that we get on."""

    def _proved(self) -> None:
        self._next_beat = time.monotonic() + self.beat_seconds
