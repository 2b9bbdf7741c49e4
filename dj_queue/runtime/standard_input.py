"""A socket between a parent and a child that it starts, which is the child's standard input.

So nothing has to be handed down by number, nothing else inherits an end (Python's descriptors are not
inheritable), and when either process dies, however it dies, the kernel closes its end.
"""

import os
import socket
from typing import Self


class StandardInputEnd:
    """One end; the other is in another process."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple[Self, socket.socket]:
        """The parent's end, and the one to give to a child as its standard input."""
        ours, theirs = socket.socketpair()
        return cls(ours), theirs

    @classmethod
    def from_standard_input(cls) -> Self:
        """The child's end; standard input reads nothing from then on, for tasks that look there."""
        end = socket.socket(fileno=os.dup(0))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        return cls(end)

    def close(self) -> None:
        """Close this end; the other one sees that."""
        self._end.close()
