"""The mark in the row of a worker that the database cannot wake, for whoever asks for its health."""

from collections.abc import Mapping
from typing import Any

from dj_queue.runtime.registration import Registration, with_version
from dj_queue.store import Session


class DeafMark:
    """Written once for each row; a worker has another row when somebody took it for dead meanwhile.

    Whether a pooler stands in the way is known at the first connection and does not change after that,
    so the mark is never taken away.
    """

    def __init__(self, registration: Registration, name: str) -> None:
        self._registration = registration
        self._name = name
        self._written_in: int | None = None

    def write(self, session: Session, metadata: Mapping[str, Any]) -> None:
        """Add it to *metadata* of the row, if *session* is deaf and it is not there."""
        if not session.is_deaf:
            return
        process_id = self._registration.id_of(self._name)
        if process_id is not None and process_id != self._written_in:
            session.describe(process_id, with_version(metadata) | {"is_deaf": True})
            self._written_in = process_id
