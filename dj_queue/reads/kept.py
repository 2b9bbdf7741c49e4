"""Numbers that are large, known for a few seconds: of a million jobs nobody sees a thousand come or go.

Counting is what costs when much waits, and pages refresh, and metrics are scraped, every few seconds. So a
process asks again for a large number only when what it knows is `KEPT_SECONDS` old. Small numbers, which
people watch move, are never kept.
"""

import time
from collections.abc import Hashable, Iterable, Mapping

KEPT_SECONDS = 10.0

LARGE = 1_000
"""From so many on a number is kept."""


class Kept[K: Hashable, V]:
    """Values by key, each for `KEPT_SECONDS`. Any thread may use it; at worst something is asked twice."""

    def __init__(self) -> None:
        self._values: dict[K, tuple[float, V]] = {}

    def known(self, keys: Iterable[K]) -> dict[K, V]:
        """Those of *keys* that are known."""
        now = time.monotonic()
        found = {}
        for key in keys:
            until, value = self._values.get(key, (0.0, None))
            if value is not None and until > now:
                found[key] = value
        return found

    def keep(self, values: Mapping[K, V]) -> None:
        """Know *values* from now on."""
        if not values:
            return
        now = time.monotonic()
        # Those that are over go, so that queues which are gone do not stay here.
        known = {key: kept for key, kept in list(self._values.items()) if kept[0] > now}
        self._values = known | {key: (now + KEPT_SECONDS, value) for key, value in values.items()}

    def forget(self) -> None:
        """Ask again, because this process has changed something."""
        self._values = {}
