"""Leadership: of all processes that could do the work of a role, one does it and the others wait.

                      the lock is taken and the row written
        follower ─────────────────────────────────────────────► leader
         │    ▲                                                  │  │
         │    └── the lock is lost, or anything raises: abandon ─┘  │
         │                                                          │
         └── `retire` or `stop` ───────► retired ◄── release ───────┘

`follower`: waits for the lock without asking for it again and again (how, is the vendor's: see the modules
`*_lock` of the store), and does nothing else. `leader`: does its work on the session that holds the lock,
and proves at least every few seconds that it lives and that the lock is its own. A leader steps down at the
first sign of doubt: when its connection breaks, when its proof or its work fails. It closes the session
then, so another can lead at once, and stands again after the actor's delay. `retired`: a process that stops
gives up the lock and never stands again. A process without an actor for the role never stands either.

Two leaders at a time do no harm, only needless work: what they do takes locked rows, and what the old one
does after it lost its lock is refused.
"""

import time
from abc import abstractmethod
from typing import ClassVar

from dj_queue import events
from dj_queue.exceptions import LockLost
from dj_queue.runtime.loop import Actor
from dj_queue.runtime.polling import SAFETY_SECONDS
from dj_queue.store import Session
from dj_queue.store.locks import Holder, LeaderLock


class LeaderActor(Actor):
    """An actor that works only while its process leads."""

    role: ClassVar[str]
    """What is led; one leader for each role of each backend."""

    def __init__(self, backend_alias: str, name: str, holder: Holder) -> None:
        super().__init__(backend_alias, name)
        self.holder = holder
        self._leader_lock: LeaderLock | None = None
        self._is_retired = False
        # When to look for work, and how often the database had called at the last look.
        self._look_at = 0.0
        self._calls_answered = 0

    @abstractmethod
    def lead(self, session: Session) -> float:
        """Do the work of the role; how many seconds to wait before the next look."""

    def make_lock(self, session: Session) -> LeaderLock:
        """The lock of this actor's session; called once, in its thread."""
        return session.leader_lock(self.role, self.holder)

    @property
    def is_leader(self) -> bool:
        """Whether this actor leads, as far as it knows."""
        return self._leader_lock is not None and self._leader_lock.is_held

    def retire(self) -> None:
        """Let another process lead, and never stand again. From any thread; returns at once."""
        self._is_retired = True
        self.wake.set()

    def call(self) -> None:
        """There is work: the leader looks for it now. A follower's leader hears of it otherwise."""
        if self.is_leader:
            super().call()

    def tick(self, session: Session) -> float:
        if self._leader_lock is None:
            self._leader_lock = self.make_lock(session)
        if self._is_retired:
            self._resign(self._leader_lock)
            return SAFETY_SECONDS
        try:
            if not self._leader_lock.is_held and not self._stand(self._leader_lock):
                return SAFETY_SECONDS
            return self._lead(session, self._leader_lock)
        except LockLost as lost:
            self._step_down(str(lost))
            return 0.0

    def sleep(self, session: Session, seconds: float) -> None:
        if self.is_leader:
            until = time.monotonic() + seconds
            # At the end of the time it may be due only to prove that we lead.
            if session.wait(self.wake, seconds) and time.monotonic() < until:
                self.should_look = True
        elif self._leader_lock is None or self._is_retired:
            self.wake.wait(seconds)
        else:
            self._leader_lock.wait(self.wake)

    def failed(self) -> None:
        self._step_down("it failed")

    def wind_down(self, session: Session, deadline: float) -> None:
        del session, deadline
        if self._leader_lock is not None:
            self._resign(self._leader_lock)

    def _stand(self, lock: LeaderLock) -> bool:
        if not lock.try_acquire():
            return False
        self.should_look = True
        events.emit(
            events.LeadershipGained(
                self.backend_alias, self.role, self.holder.process_name, lock.term or 0
            )
        )
        return True

    def _lead(self, session: Session, lock: LeaderLock) -> float:
        if lock.seconds_to_beat <= 0:
            lock.beat()
        if (
            self.should_look
            or session.calls != self._calls_answered
            or time.monotonic() >= self._look_at
        ):
            # Before the look: what comes during it is for the next.
            self.should_look = False
            self._calls_answered = session.calls
            with lock.work():
                seconds = self.lead(session)
            self._look_at = time.monotonic() + seconds
        return min(max(0.0, self._look_at - time.monotonic()), lock.seconds_to_beat)

    def _resign(self, lock: LeaderLock) -> None:
        """Give the lock back; what was lost already is only forgotten."""
        term = lock.term
        try:
            lock.release()
        except LockLost:
            lock.abandon()
        finally:
            self._tell_lost(term, "it stops")

    def _step_down(self, reason: str) -> None:
        if self._leader_lock is not None:
            term = self._leader_lock.term
            self._leader_lock.abandon()
            self._tell_lost(term, reason)

    def _tell_lost(self, term: int | None, reason: str) -> None:
        if term is not None:
            events.emit(
                events.LeadershipLost(
                    self.backend_alias, self.role, self.holder.process_name, term, reason
                )
            )
