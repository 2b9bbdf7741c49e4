"""Tasks of every kind, for the tests."""

import asyncio
import threading
from pathlib import Path

from django.tasks import task

from dj_queue.api import on_worker_lost


@task
def add(a, b):
    return a + b


@on_worker_lost("requeue")
@task
def try_again(a, b):
    return a + b


@task
@on_worker_lost("requeue")
def try_again_too():
    return None


@task
def noop():
    return None


@task
async def async_sleep(seconds):
    await asyncio.sleep(seconds)
    return threading.current_thread().name


@task
def tell_and_hang(path):
    """Make the file *path*, and never end."""
    Path(path).touch()
    threading.Event().wait()
