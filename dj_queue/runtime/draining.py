"""How a worker stops: the mark in its row, and the time that it keeps for its last words."""

import time
from datetime import datetime
from typing import Any

from dj_queue.config import BackendConfig
from dj_queue.runtime.clock import DatabaseClock
from dj_queue.runtime.registration import Registration, with_version
from dj_queue.store import Session

# How much of the time to stop is kept for writing about jobs that did not end in time, and how much more
# for each of them; never more than half of what is left.
_LAST_WORDS_SECONDS = 0.25
_LAST_WORDS_SECONDS_PER_JOB = 0.001


def begin_of_last_words(deadline: float, running: int) -> float:
    """From when on a worker that stops by *deadline* (monotonic) writes about its *running* jobs."""
    needed = _LAST_WORDS_SECONDS + _LAST_WORDS_SECONDS_PER_JOB * running
    return deadline - min(needed, max(0.0, deadline - time.monotonic()) / 2)


class DrainingMark:
    """In the row of a worker that claims nothing more and lets its jobs end; written once for each row.

    For people, and for deployments that wait for jobs to end. A worker has another row when somebody took
    it for dead meanwhile and it registered again.
    """

    def __init__(
        self, config: BackendConfig, clock: DatabaseClock, registration: Registration, name: str
    ) -> None:
        self._config = config
        self._clock = clock
        self._registration = registration
        self._name = name
        self._written_in: int | None = None
        self._started_at: datetime | None = None

    def write(self, session: Session, metadata: dict[str, Any], active_jobs: int) -> None:
        """Add it to *metadata* of the row, unless it is there. *active_jobs* run now, and may end yet."""
        process_id = self._registration.id_of(self._name)
        if process_id is None or process_id == self._written_in:
            return
        self._started_at = self._started_at or self._clock.now()
        mark = {
            "shutdown_state": "draining",
            "shutdown_started_at": self._started_at.isoformat(),
            "shutdown_timeout": self._config.options.shutdown_timeout,
            "active_jobs": active_jobs,
        }
        session.describe(process_id, with_version(metadata) | mark)
        self._written_in = process_id
