"""What ties a child process to its parent in fork mode: a socket that is the child's standard input.

The parent says `STOP` through it; the child says `STARTED`. No child outlives its parent unnoticed.
"""

import os
import socket
from enum import Enum

from dj_queue.runtime.standard_input import StandardInputEnd

CHILD_VARIABLE = "DJ_QUEUE_CHILD"
"""Says in the environment of a child which one it is. It is taken out again when it is read."""

_STOP = b"s"
_STARTED = b"u"


class Heard(Enum):
    """What a child hears from its parent."""

    NOTHING = "nothing"
    STOP = "stop"
    END = "the parent is dead"


class Lifeline(StandardInputEnd):
    """One end. Never blocks, never raises for what the other end does."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__(end)
        end.setblocking(False)

    def fileno(self) -> int:
        """For `selectors`: readable when there is something to hear."""
        return self._end.fileno()

    def say_stop(self) -> None:
        """To a child: stop in an orderly way."""
        self._say(_STOP)

    def say_started(self) -> None:
        """To the parent: this process runs."""
        self._say(_STARTED)

    def heard(self) -> Heard:
        """What the parent has said since the last call."""
        said = self._received()
        if said is None:
            return Heard.NOTHING
        return Heard.STOP if _STOP in said else Heard.END

    def heard_started(self) -> bool | None:
        """Whether the child has said since the last call that it runs; None when its end is closed."""
        said = self._received()
        return None if said == b"" else said is not None and _STARTED in said

    def _say(self, word: bytes) -> None:
        try:
            self._end.send(word)
        except OSError:
            return  # Nobody is there any more, which is seen elsewhere.

    def _received(self) -> bytes | None:
        """None when there is nothing yet; empty when the other end is closed."""
        try:
            return self._end.recv(64)
        except BlockingIOError:
            return None
        except OSError:
            return b""


def taken_child_name() -> str | None:
    """Which child this process is, or None; taken out of the environment, which tasks hand on."""
    return os.environ.pop(CHILD_VARIABLE, None)
