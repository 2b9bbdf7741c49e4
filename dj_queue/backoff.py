"""How long to wait before trying again: doubling, with a ceiling, spread at random."""

import random


class Backoff:
    """Delays in seconds that double from *first* up to *ceiling*, each spread over its upper half.

    The spread keeps many processes that lost the same database from coming back in one wave.
    """

    def __init__(self, *, first: float = 0.05, ceiling: float = 5.0) -> None:
        self._first = first
        self._ceiling = ceiling
        self._failures = 0

    @property
    def failures(self) -> int:
        """How many delays were asked for since the last reset."""
        return self._failures

    def next_delay(self) -> float:
        """The delay after one more failure, in seconds."""
        # The exponent is bounded: 2**failures would overflow a float after a week of failures.
        full = min(self._ceiling, self._first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return full * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret

    def reset(self) -> None:
        """Start over after a success."""
        self._failures = 0
