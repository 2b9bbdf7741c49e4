"""A flag that one thread sets and another waits for, together with a socket if it likes."""

import selectors
import socket
import time


class WakeSignal:
    """Like `threading.Event`, and the waiting thread can also wait for it with `selectors`.

    The flag is the truth; the byte in the socket only ends a wait that has begun. So a byte that `clear`
    swallowed while somebody set the flag again loses nothing: `is_set` is looked at before each wait.
    The sockets are made when the waiting thread first needs them and given back by `close`.
    """

    def __init__(self) -> None:
        self._set = False
        self._sockets: tuple[socket.socket, socket.socket] | None = None

    @property
    def is_set(self) -> bool:
        """Whether `set` was called since the last `clear`."""
        return self._set

    def fileno(self) -> int:
        """A descriptor that becomes readable when the flag is set, for `selectors`."""
        if self._sockets is None:
            self._sockets = socket.socketpair()
            for end in self._sockets:
                end.setblocking(False)
        return self._sockets[0].fileno()

    def set(self) -> None:
        """Wake whoever waits. From any thread, and from signal handlers."""
        if self._set:
            return
        self._set = True
        sockets = self._sockets  # Read once: `close` may take them away meanwhile.
        if sockets is not None:
            try:
                sockets[1].send(b"\0")
            except OSError:
                # Full of earlier bytes: the waiting thread wakes all the same. Closed: nobody waits.
                return

    def clear(self) -> None:
        """Take the flag down. Call it before looking for work, so that what comes during the look counts."""
        self._set = False
        self.drain()

    def drain(self) -> None:
        """Read what is in the socket, without taking the flag down.

        For who finds the descriptor readable and the flag down: a byte was on its way while `clear` read,
        and would end every further wait at once. From the waiting thread only.
        """
        if self._sockets is not None:
            try:
                while len(self._sockets[0].recv(1024)) == 1024:
                    continue
            except OSError:
                return  # Empty, or closed.

    def wait(self, seconds: float) -> bool:
        """Sleep until the flag is set or *seconds* have passed; whether it is set."""
        descriptor, deadline = self.fileno(), time.monotonic() + seconds
        with selectors.DefaultSelector() as waiting:
            waiting.register(descriptor, selectors.EVENT_READ)
            # The flag may have been set before there was a socket to write to.
            while not self._set and (left := deadline - time.monotonic()) > 0:
                waiting.select(left)
                if not self._set:
                    self.drain()
        return self._set

    def close(self) -> None:
        """Give the sockets back; `set` is harmless from then on."""
        self._set = True
        sockets, self._sockets = self._sockets, None
        for end in sockets or ():
            end.close()
