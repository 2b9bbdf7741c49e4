"""How long to sleep between looks for work when nobody wakes us."""

import random

SAFETY_SECONDS = 15.0
"""Between looks where the database wakes us: a notification may get lost, work may not."""

_FIRST_SECONDS = 0.01
_GROWTH = 1.5


class Polling:
    """Short sleeps right after there was work, growing to *interval* while there is none."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = _FIRST_SECONDS

    def found_work(self) -> None:
        """Look again soon: work seldom comes alone."""
        self._next = _FIRST_SECONDS

    def seconds(self, *, is_woken: bool) -> float:
        """How long to sleep now; *is_woken* when the database ends the sleep as soon as there is work."""
        if is_woken:
            # Spread, so that the processes of a deployment do not all look at once.
            return random.uniform(0.7, 1.0) * max(SAFETY_SECONDS, self._interval)  # noqa: S311
        seconds = min(self._next, self._interval)
        self._next = min(self._next * _GROWTH, self._interval)
        return seconds
