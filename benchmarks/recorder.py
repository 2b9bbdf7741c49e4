"""The reading end of the pipe into which the tasks of a contender write when they ran.

A named pipe and not the database: a record costs the worker one `write` of some microseconds and
adds nothing to what the contender itself asks of PostgreSQL. `projects/common/recording.py` is the
writing end.
"""

import contextlib
import fcntl
import os
import select
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.deadline import Deadline

__all__ = ["Record", "Recorder"]

_RECORD = struct.Struct("<qdd")
_CHECK_SECONDS = 1.0
_PIPE_BYTES = 1024 * 1024
_F_SETPIPE_SZ = 1031  # fcntl has the name on Linux only


@dataclass(frozen=True)
class Record:
    """One run of a task, times on the system-wide monotonic clock."""

    sequence: int
    """The number the producer gave the job."""
    started_at: float
    """Seconds, read as the first thing the task did."""
    finished_at: float
    """Seconds, read as the last thing before the record was written."""


class Recorder:
    """Owns the named pipe; leaving the context removes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        # Read and write, so that opening does not wait for a worker and no reader ever sees an end
        # of file between two workers.
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""
        # Where this fails (not Linux, not allowed) the pipe holds fewer records, which is enough.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._pipe, _F_SETPIPE_SZ, _PIPE_BYTES)

    def collect(self, count: int, deadline: Deadline, *, check: Callable[[], None]) -> list[Record]:
        """Wait for at least *count* records and return all there are, in the order written.

        *check* is called now and then and raises when there is nobody left to write any.
        """
        records: list[Record] = []
        while len(records) < count:
            check()
            seconds = min(deadline.remaining(), _CHECK_SECONDS)
            readable, _, _ = select.select([self._pipe], [], [], seconds)
            if readable:
                records += self._parse(os.read(self._pipe, _PIPE_BYTES))
        return records

    def discard(self) -> None:
        """Forget the records that have arrived."""
        try:
            while os.read(self._pipe, _PIPE_BYTES):
                pass
        except BlockingIOError:
            self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._pipe)
        self.path.unlink()

    def _parse(self, received: bytes) -> list[Record]:
        received = self._rest + received
        whole = len(received) - len(received) % _RECORD.size
        self._rest = received[whole:]
        return [Record(*fields) for fields in _RECORD.iter_unpack(received[:whole])]
