"""Whether the database reaches an actor: tells when it does not, and when it does again."""

from dj_queue import events
from dj_queue.store import Session


class Hearing:
    """What one actor knows of its notifications. Belongs to the actor's thread."""

    def __init__(self, backend_alias: str, actor: str) -> None:
        self._backend_alias = backend_alias
        self._actor = actor
        self._was_woken = self._is_cut_off = self._is_deaf = False

    def worked(self, session: Session) -> None:
        """The session was used without an error: tell what has changed."""
        if session.is_deaf and not self._is_deaf:
            events.emit(events.ListenerDeaf(self._backend_alias, self._actor))
        self._is_deaf = session.is_deaf
        self._was_woken = session.is_woken_by_database
        if self._is_cut_off and self._was_woken:
            self._is_cut_off = False
            events.emit(events.ListenerRestored(self._backend_alias, self._actor))

    def failed(self, session: Session) -> None:
        """The session was used and raised: remember if its connection is gone, and what it heard with it."""
        if self._was_woken and not session.is_woken_by_database:
            self._is_cut_off = True
