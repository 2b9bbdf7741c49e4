"""What the leading dispatcher does for concurrency limits, beside the hand-over that goes with each job.

It settles keys whose waiters were forgotten (their process died between its commit and the settling, or
their queue was paused) or may start because a slot of a rate limit has ended, gives back slots that leaked,
and deletes semaphores that nobody uses.
"""

import time

from dj_queue import events
from dj_queue.config import BackendConfig, DispatcherConfig
from dj_queue.operations import limits
from dj_queue.store import Session
from dj_queue.store.records import RATE, Settled

# Between looks while jobs wait for slots, and while none does.
_BUSY_SECONDS = 1.0
_IDLE_SECONDS = 10.0

# Slots of rate limits that end closer together than this are handed out together.
_LEAST_SECONDS = 0.05


class LimitUpkeep:
    """Belongs to one dispatcher, and to its thread."""

    def __init__(self, config: BackendConfig, dispatcher: DispatcherConfig) -> None:
        self._config = config
        self._is_wanted = dispatcher.concurrency_maintenance
        self._interval = dispatcher.concurrency_maintenance_interval
        # By the monotonic clock: both are due when this process begins to lead.
        self._sweep_at = self._maintain_at = self._swept_at = 0.0
        self._swept_up_to = ""

    def work(self, session: Session, *, has_blocked: bool) -> float | None:
        """Do what is due; seconds until there is more to do, None when there never is.

        *has_blocked*: whether jobs are known to wait for slots, so that the next look is not an idle one.
        """
        if not self._is_wanted:
            return None
        if time.monotonic() >= self._maintain_at:
            self._maintain(session)
            self._maintain_at = time.monotonic() + self._interval
        if has_blocked:
            self._sweep_at = min(self._sweep_at, self._swept_at + _BUSY_SECONDS)
        if time.monotonic() >= self._sweep_at:
            seconds = self._sweep(session)
            self._swept_at = time.monotonic()
            self._sweep_at = self._swept_at + seconds
        # Where the interval is 0, it is done whenever the dispatcher looks, and it need not look for that.
        next_times = [self._sweep_at, *([self._maintain_at] if self._interval else [])]
        return max(0.0, min(next_times) - time.monotonic())

    def _sweep(self, session: Session) -> float:
        """Settle some of the keys that jobs wait for, in turn; seconds until the next look."""
        found = limits.sweep(session, self._swept_up_to)
        self._tell(found.settled)
        is_first = self._swept_up_to == ""
        self._swept_up_to = "" if found.is_all else found.last or ""
        if is_first and found.last is None:
            return _IDLE_SECONDS
        if any(waiter.key.startswith(RATE) for waiter in found.settled.started):
            return _LEAST_SECONDS  # When the next slot of that key ends is seen only now.
        if found.seconds_to_next is None:
            return _BUSY_SECONDS
        return min(_BUSY_SECONDS, max(_LEAST_SECONDS, found.seconds_to_next))

    def _maintain(self, session: Session) -> None:
        place: int | None = 0
        repaired = 0
        while place is not None:
            found = limits.repair(session, place)
            self._tell(found.settled)
            repaired, place = repaired + found.repaired, found.last
        if repaired:
            events.emit(events.SlotsRepaired(self._config.alias, repaired))
        while limits.remove_unused(session) == limits.KEYS_PER_STEP:
            pass

    def _tell(self, settled: Settled) -> None:
        limits.tell(self._config.options.database_alias, settled)
