"""The tasks' end of the pipe that tells the benchmark when they ran.

`benchmarks/recorder.py` is the reading end. A record is smaller than PIPE_BUF, so records of
several threads and processes never mix.
"""

import contextlib
import functools
import os
import struct
import time

__all__ = ["now", "write_record"]

_RECORD = struct.Struct("<qdd")

# CLOCK_MONOTONIC: one clock for all processes of the machine, and nobody sets it.
now = time.monotonic


def write_record(sequence: int, started_at: float) -> None:
    """Report that the job with *sequence* began at *started_at* and ends now."""
    # A full pipe means that nobody is interested any more; a worker must not hang on it.
    with contextlib.suppress(BlockingIOError):
        os.write(_pipe(os.getpid()), _RECORD.pack(sequence, started_at, now()))


@functools.cache
def _pipe(pid: int) -> int:
    """The open pipe of this process (*pid* is the key: a forked child opens its own)."""
    del pid
    return os.open(os.environ["DJ_QUEUE_BENCH_PIPE"], os.O_WRONLY | os.O_NONBLOCK)
