"""Tasks that a test holds in its hand while they run: they wait at gates and say who they are."""

import asyncio
import contextvars
import os
import sys
import threading
import time
from collections import defaultdict

from django.db import connection, transaction
from django.tasks import task

from dj_queue.api import is_stopping

_gates: dict[str, threading.Event] = defaultdict(threading.Event)
_seen: list[object] = []
_lock = threading.Lock()

_variable = contextvars.ContextVar("variable", default="unset")


def gate(name: str) -> threading.Event:
    """What tasks wait for in this process until a test opens it."""
    with _lock:
        return _gates[name]


def seen() -> list[object]:
    """What tasks noted in this process, in order."""
    with _lock:
        return list(_seen)


def reset() -> None:
    """Open all gates and forget them and the notes."""
    with _lock:
        for event in _gates.values():
            event.set()
        _gates.clear()
        _seen.clear()


@task
def note(value):
    with _lock:
        _seen.append(value)


@task
def wait_at(name, seconds=20):
    gate(f"{name} began").set()
    return gate(name).wait(seconds)


@task
def until_stopping(name, seconds=20):
    """Whether the worker was about to stop at first, and then within *seconds*."""
    at_first = is_stopping()
    gate(f"{name} began").set()
    deadline = time.monotonic() + seconds
    while not is_stopping() and time.monotonic() < deadline:
        time.sleep(0.002)
    return [at_first, is_stopping()]


@task
async def async_until_stopping(name, seconds=20):
    at_first = is_stopping()
    gate(f"{name} began").set()
    deadline = time.monotonic() + seconds
    while not is_stopping() and time.monotonic() < deadline:
        await asyncio.sleep(0.002)
    return [at_first, is_stopping()]


@task
async def await_at(name, seconds=20):
    gate(f"{name} began").set()
    deadline = time.monotonic() + seconds
    while not gate(name).is_set() and time.monotonic() < deadline:
        await asyncio.sleep(0.002)
    return gate(name).is_set()


@task
async def hold_the_loop(name, seconds=20):
    """What an `async def` task must not do: wait without giving way."""
    gate(f"{name} began").set()
    return gate(name).wait(seconds)


@task
async def stop_the_loop():
    asyncio.get_running_loop().stop()


@task
async def read_and_set_variable(value):
    before = _variable.get()
    _variable.set(value)
    await asyncio.sleep(0)
    return before


@task
async def count_rows_async():
    from dj_queue.models import Job

    return await Job.objects.acount()


@task
def which_process():
    return os.getpid()


@task
def exit_now():
    sys.exit(3)


@task
def interrupt():
    raise KeyboardInterrupt


@task
def cancel():
    raise asyncio.CancelledError


@task
def raise_nul():
    raise ValueError("a\0b\ud800")


@task
def return_nul():
    return "a\0b"


@task
def return_self():
    value = []
    value.append(value)
    return value


@task
def return_much():
    return "x" * 5_000_000


@task
def raise_unprintable():
    class Unprintable(Exception):
        def __str__(self):
            raise RuntimeError("no")

    raise Unprintable


@task
def leave_transaction_open():
    transaction.atomic().__enter__()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


@task
def close_connection_under_django():
    connection.ensure_connection()
    connection.connection.close()


@task
def break_and_raise():
    connection.ensure_connection()
    connection.connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


@task
def count_rows():
    from dj_queue.models import Job

    return Job.objects.count()


@task
async def exit_async():
    sys.exit(3)


@task
async def exit_in_a_child_task():
    async def leave():
        sys.exit(3)

    child = asyncio.get_running_loop().create_task(leave())
    await asyncio.sleep(0.01)
    child.cancel()
    raise ValueError("the child left")


@task
async def cancel_async():
    raise asyncio.CancelledError


@task
async def return_nul_async():
    return "a\0b"


POISONS = [
    exit_now, interrupt, cancel, raise_nul, return_nul, return_self, return_much, raise_unprintable,
    leave_transaction_open, break_and_raise,
]  # fmt: skip
ASYNC_POISONS = [exit_async, cancel_async, return_nul_async]


@task
def append_to_argument(given):
    given["list"].append("changed")
    return given["list"]
