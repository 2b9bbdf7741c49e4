"""When other processes are told of new jobs, so that telling costs little however many jobs there are.

A NOTIFY in every transaction halves the throughput of eight clients that commit at once, because
PostgreSQL commits notifications one at a time. So each process announces at most a few times in a window
of 50 ms. The last announcement of a window says that it is the last: whoever hears it looks again and
again for the rest of the window and a little longer, and so finds what is enqueued without a word.

Only statements that commit at once may be silent. In a transaction of the caller, which may commit at
any time, every insert announces (the server drops the repeats). A silent insert that took longer than
the listeners stay alert announces after the fact.
"""

import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakSet

from dj_queue.selectors import QueueSelection

WINDOW_SECONDS = 0.05
PER_WINDOW = 5

# A silent insert must be visible while the listeners still look; they do so for 75 ms.
_SLOW_INSERT_SECONDS = 0.02

# PostgreSQL refuses payloads of 8000 bytes.
_MAX_PAYLOAD = 7000


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a notification says."""

    backend_alias: str
    queues: tuple[str, ...]
    """Empty for any."""
    is_burst: bool
    """Whether more may follow without a word."""

    def concerns(self, backend_alias: str, selection: QueueSelection) -> bool:
        """Whether somebody who serves *selection* of *backend_alias* should look."""
        if self.backend_alias != backend_alias:
            return False
        return not self.queues or any(selection.matches(name) for name in self.queues)


# Those of this process, for the hook below.
_all: "WeakSet[Announcements]" = WeakSet()


class Announcements:
    """Decides for one process and database which inserts announce themselves."""

    def __init__(self) -> None:
        # Guards _windows.
        self._lock = threading.Lock()
        # (backend, topic, queues) -> (start of the window, announcements in it)
        self._windows: dict[tuple[str, str, tuple[str, ...]], tuple[float, int]] = {}
        _all.add(self)

    def renew(self) -> None:
        """In a forked child: another thread of the parent may have held the lock, and is not here."""
        self._lock = threading.Lock()
        self._windows = {}

    def begin(
        self, backend_alias: str, topic: str, queues: Sequence[str], *, is_deferred: bool
    ) -> str | None:
        """The payload to send with an insert, or None to be silent.

        *is_deferred*: the insert becomes visible when the caller's transaction commits, not at once.
        """
        if is_deferred:
            return self.text(backend_alias, queues)
        key, now = (backend_alias, topic, tuple(queues)), time.monotonic()
        with self._lock:
            start, sent = self._windows.get(key, (0.0, 0))
            if now - start >= WINDOW_SECONDS:
                start, sent = now, 0
            if sent >= PER_WINDOW:
                return None
            if len(self._windows) > 1000:
                self._windows.clear()
            self._windows[key] = (start, sent + 1)
        return self.text(backend_alias, queues, is_burst=sent + 1 == PER_WINDOW)

    @staticmethod
    def came_too_late(*, started: float, was_sent: bool, is_deferred: bool) -> bool:
        """Whether a silent insert that began at *started* took so long that nobody looks any more."""
        if was_sent or is_deferred:
            return False
        return time.monotonic() - started > _SLOW_INSERT_SECONDS

    @staticmethod
    def text(backend_alias: str, queues: Sequence[str], *, is_burst: bool = False) -> str:
        """The payload for *queues*; of very many only that there are some."""
        payload = _payload(backend_alias, queues, is_burst=is_burst)
        if len(payload) > _MAX_PAYLOAD:
            return _payload(backend_alias, (), is_burst=is_burst)
        return payload

    @staticmethod
    def read(payload: str) -> Announcement | None:
        """What a payload says; None when it is not one of ours, which means: look."""
        try:
            said = json.loads(payload)
            return Announcement(said["backend"], tuple(said["queues"]), bool(said["burst"]))
        except (ValueError, KeyError, TypeError):
            return None


def _payload(backend_alias: str, queues: Sequence[str], *, is_burst: bool) -> str:
    return json.dumps({"backend": backend_alias, "queues": list(queues), "burst": is_burst})


def _renew_after_fork() -> None:
    for announcements in list(_all):
        announcements.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
