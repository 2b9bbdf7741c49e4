"""Signals that end a stand-alone process: the first asks it to stop, the second ends it.

    running ──SIGTERM, SIGINT──► asked to stop ──SIGTERM, SIGINT──► ended, status 128 + number
       └───────────────────────────────┴────────────SIGQUIT──────► ended, status 128 + number

Ended at once means that nothing is given back and nothing is written: jobs that had begun are left to
recovery, as after a crash.
"""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any, Self

from dj_queue.store.wake import WakeSignal

_GRACEFUL = (signal.SIGTERM, signal.SIGINT)
# Not on every platform.
_AT_ONCE = tuple(getattr(signal, name) for name in ("SIGQUIT",) if hasattr(signal, name))

# What a shell shows for a process that a signal ended.
_ENDED_BY_SIGNAL = 128


class ExitSignals:
    """Handles the signals of this process as long as the `with` block lasts.

    Outside of the main thread it handles none, since Python does not let it.
    """

    def __init__(self, notice: str = "") -> None:
        """*notice* goes to standard error when the process is asked to stop."""
        self.asked = WakeSignal()
        """Set from the first signal on. A plain flag with a socket, because setting a
        `threading.Event` in a handler blocks for ever if the signal came while it was waited for."""
        self._notice = notice.encode()
        self._previous: dict[int, Any] = {}
        self._last_acts: list[Callable[[], object]] = []

    def before_ending_at_once(self, act: Callable[[], object]) -> None:
        """Call *act* when a signal ends the process at once; it must not block."""
        self._last_acts.append(act)

    def __enter__(self) -> Self:
        # The socket first: a signal must not find it half made.
        self.asked.fileno()
        if threading.current_thread() is threading.main_thread():
            self._previous = {
                number: signal.signal(number, self._handle) for number in (*_GRACEFUL, *_AT_ONCE)
            }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self.asked.close()

    def _handle(self, number: int, _frame: Any) -> None:
        if self.asked.is_set or number in _AT_ONCE:
            self._end(number)
        self.asked.set()
        if self._notice:
            # Written past Python's buffers and locks, which the signal may have interrupted.
            os.write(2, self._notice)

    def _end(self, number: int) -> None:
        try:
            for act in self._last_acts:
                act()
        finally:
            os._exit(_ENDED_BY_SIGNAL + number)
