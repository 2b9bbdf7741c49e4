"""Tasks that keep a ledger by themselves, so that what a test believes does not come from the database.

A line says what happened, of which number, in which process and when. It is one write to a file that is
only appended to: lines of several processes are never mixed, and a killed process leaves no half of one.
"""

import asyncio
import os
import time
from datetime import datetime

from django.tasks import task


def write(path, word, number):
    """Append one line; of the machine's own clock, which no process sees differently."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, f"{word} {number} {os.getpid()} {time.monotonic():.6f}\n".encode())
    finally:
        os.close(descriptor)


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
