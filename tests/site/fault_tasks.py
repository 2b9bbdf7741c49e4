"""Tasks that keep a ledger by themselves, so that what a test believes does not come from the database.

A record says what happened, to which number, in which process and when. It is one write to memory that a
file is mapped into: it takes less than a microsecond, during which no other thread runs and nothing is
waited for, and a `kill -9` does not undo it. With a system call in its place a process could be killed
between the beginning of a task and its record, while another thread has the interpreter.
"""

import asyncio
import itertools
import mmap
import os
import struct
import time
from datetime import datetime

from django.tasks import task

RECORD = struct.Struct("=qdq")
"""Number, monotonic time, word; the word last, since a record without it is none."""
WORDS = ("", "began", "ended", "enqueued")

_RECORDS = 8192
_codes = {word: code for code, word in enumerate(WORDS)}
_pages = {}


class _Page:
    """A file of this process with room for so many records."""

    serial = itertools.count()

    def __init__(self, path):
        name = f"{path}.{os.getpid()}.{next(self.serial)}"
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            # All of it now: a hole that cannot be filled on a full disk would end the process (SIGBUS).
            os.write(descriptor, bytes(_RECORDS * RECORD.size))
            self.file = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)
        self.places = iter(range(0, len(self.file), RECORD.size))


def write(path, word, number):
    """Add a record; of the machine's own clock, which no process sees differently."""
    key = path, os.getpid()
    while True:
        page = _pages.get(key) or _pages.setdefault(key, _Page(path))
        place = next(page.places, None)
        if place is not None:
            RECORD.pack_into(page.file, place, number, time.monotonic(), _codes[word])
            return
        # Full. Two threads may come here at once, and one of the new pages stays empty or nearly so.
        _pages[key] = _Page(path)


@task
def record(path, number, seconds=0.0):
    write(path, "began", number)
    if seconds:
        # libfaketime refuses to sleep for no time at all.
        time.sleep(seconds)
    write(path, "ended", number)


@task
async def record_async(path, number, seconds=0.0):
    write(path, "began", number)
    await asyncio.sleep(seconds)
    write(path, "ended", number)


@task
def record_and_enqueue(path, number, follower):
    """Enqueues another one, straight into a free thread of this process if there is one."""
    write(path, "began", number)
    record.enqueue(path, follower, 0.05)
    write(path, "enqueued", follower)
    write(path, "ended", number)


@task
def enqueue_at(path, number, follower, moment):
    """Enqueues another one for a *moment* that somebody else has chosen."""
    write(path, "began", number)
    record.using(run_after=datetime.fromisoformat(moment)).enqueue(path, follower)
    write(path, "enqueued", follower)
    write(path, "ended", number)


@task
def time_of_day():
    return time.time()
