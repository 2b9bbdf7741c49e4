"""Leaders of one process speak for each other, so that two roles cost no more words than one.

A leader says each second that it lives (see `postgres_lock`). Where a process leads in several roles, whoever
is the first to speak says it for all of them, and the others keep still. Each still has to use its own
connection every few seconds, or the server would take it for stopped; and nobody is spoken for who
has not done so.
"""

import os
import threading
import time
from weakref import WeakKeyDictionary

_OWN_WORD_SECONDS = 3.0
"""How long a leader leaves it to others; the server waits for 5 s."""

_FRESH_SECONDS = 4.0


class Voices:
    """The leaders of one process on one database, each by its lock."""

    def __init__(self) -> None:
        # Guards the rest; leaders have a thread each.
        self._lock = threading.Lock()
        self._words: WeakKeyDictionary[object, str] = WeakKeyDictionary()
        self._spoke_at: WeakKeyDictionary[object, float] = WeakKeyDictionary()
        self._spoken_for_at: WeakKeyDictionary[object, float] = WeakKeyDictionary()

    def leave(self, leader: object) -> None:
        """Speak for *leader* no more."""
        with self._lock:
            for each in (self._words, self._spoke_at, self._spoken_for_at):
                each.pop(leader, None)

    def may_keep_still(self, leader: object, seconds: float) -> bool:
        """Whether another one has spoken for *leader* in the last *seconds*, and that is enough."""
        now = time.monotonic()
        with self._lock:
            return leader in self._words and (
                now - self._spoken_for_at.get(leader, -seconds) < seconds
                and now - self._spoke_at.get(leader, -_OWN_WORD_SECONDS) < _OWN_WORD_SECONDS
            )

    def words(self, leader: object, word: str) -> list[str]:
        """What *leader* is to say: *word* of its own, and those of the others."""
        fresh_since = time.monotonic() - _FRESH_SECONDS
        with self._lock:
            # Who has led in this role before does so no longer, though it may not know.
            self._words = WeakKeyDictionary(
                {other: known for other, known in self._words.items() if known != word}
            )
            others = [
                known
                for other, known in self._words.items()
                if self._spoke_at.get(other, 0.0) > fresh_since
            ]
            self._words[leader] = word
        return [word, *others]

    def has_spoken(self, leader: object) -> None:
        """What `words` gave is said."""
        now = time.monotonic()
        with self._lock:
            self._spoke_at[leader] = now
            self._spoken_for_at.pop(leader, None)
            for other in self._words:
                if other is not leader:
                    self._spoken_for_at[other] = now


_voices: dict[tuple[int, str], Voices] = {}


def voices_of(database: str) -> Voices:
    """The voices of this process, which is not the one that it was forked from, on *database*."""
    return _voices.setdefault((os.getpid(), database), Voices())
