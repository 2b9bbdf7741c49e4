"""One moment by which something must have happened, computed once and handed down."""

import time
from dataclasses import dataclass

__all__ = ["Deadline", "DeadlineExceeded"]


class DeadlineExceeded(Exception):
    """What a benchmark waited for did not happen in time."""


@dataclass(frozen=True)
class Deadline:
    """A point on the monotonic clock, with the words for the message when it passes."""

    at: float
    """`time.monotonic()` value."""
    waiting_for: str
    """Completes the sentence "waited in vain for …"."""

    @classmethod
    def after(cls, seconds: float, waiting_for: str) -> "Deadline":
        """The deadline *seconds* from now."""
        return cls(at=time.monotonic() + seconds, waiting_for=waiting_for)

    def remaining(self) -> float:
        """Seconds left; raises `DeadlineExceeded` when there are none."""
        seconds = self.at - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceeded(f"waited in vain for {self.waiting_for}")
        return seconds
