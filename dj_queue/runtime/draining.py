"""The mark in a worker's row from which on it claims nothing more and lets its jobs end."""

from typing import Any

from dj_queue.config import BackendConfig
from dj_queue.runtime.clock import DatabaseClock
from dj_queue.runtime.registration import with_version
from dj_queue.store import Session


class DrainingMark:
    """Written once in the life of a worker. For people, and for deployments that wait for jobs to end."""

    def __init__(self, config: BackendConfig, clock: DatabaseClock) -> None:
        self._config = config
        self._clock = clock
        self._is_written = False

    def write(
        self, session: Session, process_id: int, metadata: dict[str, Any], active_jobs: int
    ) -> None:
        """Add it to *metadata* of the row, unless it is there. *active_jobs* run now, and may end yet."""
        if self._is_written:
            return
        mark = {
            "shutdown_state": "draining",
            "shutdown_started_at": self._clock.now().isoformat(),
            "shutdown_timeout": self._config.options.shutdown_timeout,
            "active_jobs": active_jobs,
        }
        session.describe(process_id, with_version(metadata) | mark)
        self._is_written = True
