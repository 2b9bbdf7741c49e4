"""The database's clock as seen from here, between two times that the database told."""

import time
from datetime import UTC, datetime, timedelta


class DatabaseClock:
    """Tells the database's time without asking it: the last answer plus what has passed since.

    Read by executor threads and set by the worker's thread; both fields are replaced together.
    """

    def __init__(self) -> None:
        self._reading: tuple[datetime, float] = (datetime.now(UTC), time.monotonic())

    def set(self, now: datetime) -> None:
        """Take *now*, which the database has just told, for the current time."""
        self._reading = (now, time.monotonic())

    def now(self) -> datetime:
        """The current time, aware."""
        told, at = self._reading
        return told + timedelta(seconds=time.monotonic() - at)
