"""What a worker and a child that runs its jobs say to each other: JSON through a socket.

    worker: greeting ────────────────► child    child: {"ready": true}, or {"failed": why}
    worker: {"job", "now", "place"} ─► child    child: {"begins": true} if it does, and the outcome
                                                child, before: {"imports": true}, then {"imports": false},
                                                if it has to import the module first
    ... and so on, and at any time after the greeting:
    worker: {"stopping": true} ──────► child    (no answer)

The socket is the child's standard input, as in fork mode (`lifeline`).
"""

import errno
import json
import selectors
import socket
import struct
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from dj_queue.runtime.standard_input import StandardInputEnd
from dj_queue.store.records import ClaimedJob, JobError, Limit, Outcome

# Before each message, how many bytes it has.
_LENGTH = struct.Struct("!Q")

# How often a silent end is looked after, and how long one that does not read may hold up a message.
_LOOK_SECONDS = 1.0
_SEND_SECONDS = 10.0

_PART_BYTES = 1 << 20

_TIMES = ("created_at", "scheduled_at", "first_started_at")


class Channel(StandardInputEnd):
    """One end. One thread at a time sends, one receives; a closed or broken end is `None` or `OSError`."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__(end)
        # For sending: it is set once, since another thread may be receiving.
        end.settimeout(_SEND_SECONDS)

    def send(self, message: Any) -> None:
        """Send *message*, plain JSON. Raises `OSError` when the other end does not get it whole."""
        text = json.dumps(message).encode()
        self._end.sendall(_LENGTH.pack(len(text)) + text)

    def send_if_room(self, message: Any) -> None:
        """Send a small *message*, unless the other end has left so much unread that this would wait.

        Raises `OSError` as `send` does, and when another thread has closed this end.
        """
        with selectors.DefaultSelector() as waiting:
            try:
                waiting.register(self._end, selectors.EVENT_WRITE)
            except ValueError as error:
                raise OSError(errno.EBADF, "this end is closed") from error
            if waiting.select(0):
                self.send(message)

    def receive(self, is_there: Callable[[], bool]) -> Any | None:
        """The next message; None when the other end is closed or, after a silence, not *is_there*.

        The question is for ends that stay open though their process is dead: something that it has
        started holds a copy.
        """
        head = self._read(_LENGTH.size, is_there)
        if head is None:
            return None
        text = self._read(_LENGTH.unpack(head)[0], is_there)
        return None if text is None else json.loads(text)

    def _read(self, size: int, is_there: Callable[[], bool]) -> bytes | None:
        found = bytearray()
        while len(found) < size:
            try:
                if not self._has_something(is_there):
                    return None
                part = self._end.recv(min(size - len(found), _PART_BYTES))
            except (OSError, ValueError):
                return None
            if not part:
                return None
            found += part
        return bytes(found)

    def _has_something(self, is_there: Callable[[], bool]) -> bool:
        """Wait for the other end; False when its process is gone and has left nothing here."""
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._end, selectors.EVENT_READ)
            # Asked before the look: what it said last is heard.
            while is_there():
                if waiting.select(_LOOK_SECONDS):
                    return True
            return bool(waiting.select(0))


def job_message(job: ClaimedJob) -> dict[str, Any]:
    """*job* as JSON."""
    message = {**asdict(job), "id": job.id.hex}
    # The worker has looked at that, and a child may import for longer.
    del message["start_by"]
    return message | {name: _text(message[name]) for name in _TIMES}


def job_of(message: dict[str, Any]) -> ClaimedJob:
    """The job that `job_message` described."""
    times = {name: _moment(message[name]) for name in _TIMES}
    limit = message["limit"] and Limit(*message["limit"])
    return ClaimedJob(**{**message, **times, "id": UUID(hex=message["id"]), "limit": limit})


def outcome_message(outcome: Outcome) -> dict[str, Any]:
    """*outcome* as JSON, without its job."""
    return {
        "started_at": outcome.started_at.isoformat(),
        "finished_at": outcome.finished_at.isoformat(),
        "result": outcome.result,
        "error": outcome.error,
        "traceparent": outcome.traceparent,
    }


def outcome_of(message: dict[str, Any], job: ClaimedJob) -> Outcome:
    """The outcome of *job* that `outcome_message` described."""
    error = message["error"]
    return Outcome(
        job,
        datetime.fromisoformat(message["started_at"]),
        datetime.fromisoformat(message["finished_at"]),
        result=message["result"],
        error=None if error is None else JobError(*error),
        traceparent=message["traceparent"],
    )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
