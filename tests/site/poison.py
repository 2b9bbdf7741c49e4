"""Tasks that do what no task should: exit, raise and return what cannot be stored, break things."""

import asyncio
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from asgiref.sync import sync_to_async
from django.db import Error, connection, transaction
from django.tasks import task

from dj_queue.models import Pause


class Abandon(BaseException):
    """Not an `Exception`, as some libraries' own kinds of exit are not."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class ExitsWhenPrinted(Exception):
    def __str__(self) -> str:
        sys.exit(5)


LongName = type("Long" + "x" * 300 + "Name", (Exception,), {})


class NeverEnding(Mapping[str, Any]):
    """A mapping that fails while it is read."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("the mapping failed")

    def __iter__(self) -> Any:
        return iter(["key"])

    def __len__(self) -> int:
        return 1


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
def exit_a_generator():
    raise GeneratorExit


@task
def abandon():
    raise Abandon("left")


@task
def raise_text(text):
    raise ValueError(text)


@task
def raise_nul_and_surrogate():
    raise ValueError("a\0b \udc80 c")


@task
def raise_with_a_long_name():
    raise LongName("long")


@task
def raise_unprintable():
    raise Unprintable


@task
def raise_what_exits_when_printed():
    raise ExitsWhenPrinted


@task
def assert_without_a_message():
    assert False  # noqa: B011, PT015


@task
def raise_much():
    raise ValueError("begin " + "é" * 5_000_000 + " end")


@task
def recurse():
    recurse.func()


@task
def raise_a_group():
    raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])


@task
def raise_its_own_cause():
    error = ValueError("circle")
    error.__cause__ = error
    raise error


@task
def stop_an_iteration():
    raise StopIteration


@task
def return_nul():
    return ["a\0b"]


@task
def return_surrogate():
    return {"name": "\udc80"}


@task
def return_nul_key():
    return {"a\0b": 1}


@task
def return_itself():
    value: list = []
    value.append(value)
    return value


@task
def return_itself_deeply():
    value: dict = {}
    value["deep"] = [{"er": value}]
    return value


@task
def return_much():
    return "x" * 5_000_000


@task
def return_nan():
    return float("nan")


@task
def return_an_object():
    return object()


@task
def return_a_huge_integer():
    return 1 << 100_000


@task
def return_binary():
    return b"\xff"


@task
def return_what_fails_when_read():
    return NeverEnding()


@task
def add_two(first, second):
    return first + second


@task
def count_pauses():
    """What a job in good health does: it asks the database."""
    return Pause.objects.count()


@task
def write_a_pause(name="written"):
    Pause.objects.create(queue_name=name)


@task
def write_and_fail():
    with transaction.atomic():
        Pause.objects.create(queue_name="undone")
        raise ValueError("after the write")


@task
def leave_an_atomic_block():
    transaction.atomic().__enter__()
    Pause.objects.create(queue_name="leaked")


@task
def leave_two_atomic_blocks():
    transaction.atomic().__enter__()
    transaction.atomic().__enter__()
    Pause.objects.create(queue_name="leaked")


@task
def leave_an_atomic_block_and_fail():
    transaction.atomic().__enter__()
    Pause.objects.create(queue_name="leaked")
    raise ValueError("and then this")


@task
def leave_a_literal_begin():
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    Pause.objects.create(queue_name="leaked")


@task
def leave_a_failed_transaction():
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        with suppress(Error):
            cursor.execute("SELECT no_such_column FROM dj_queue_jobs")


@task
def leave_autocommit_off():
    connection.set_autocommit(False)
    Pause.objects.create(queue_name="leaked")


@task
def leave_a_block_and_close():
    transaction.atomic().__enter__()
    Pause.objects.create(queue_name="leaked")
    connection.close()


@task
def close_the_connection():
    connection.close()


@task
def close_the_drivers_connection():
    connection.ensure_connection()
    connection.connection.close()


@task
def have_the_server_hang_up():
    """Its own connection, from the server's side; the error is swallowed."""
    statement = {
        "postgresql": "SELECT pg_terminate_backend(pg_backend_pid())",
        "mysql": "KILL CONNECTION_ID()",
    }[connection.vendor]
    with suppress(Error), connection.cursor() as cursor:
        cursor.execute(statement)
        cursor.fetchall()


@task
def change_nothing_but_fail_in_the_database():
    with connection.cursor() as cursor:
        cursor.execute("SELECT no_such_column FROM dj_queue_jobs")


@task
async def exit_async():
    await asyncio.sleep(0)
    sys.exit(3)


@task
async def interrupt_async():
    raise KeyboardInterrupt


@task
async def cancel_async():
    raise asyncio.CancelledError


@task
async def cancel_itself():
    asyncio.current_task().cancel()
    await asyncio.sleep(10)


@task
async def raise_nul_and_surrogate_async():
    raise ValueError("a\0b \udc80 c")


@task
async def return_itself_async():
    value: list = []
    value.append(value)
    return value


@task
async def return_much_async():
    return "x" * 5_000_000


@task
async def add_async(first, second):
    await asyncio.sleep(0)
    return first + second


@task
async def count_pauses_async():
    return await Pause.objects.acount()


@task
async def write_a_pause_async(name="written"):
    await Pause.objects.acreate(queue_name=name)


@task
async def leave_an_atomic_block_async():
    await sync_to_async(leave_an_atomic_block.func)()


@task
async def leave_an_atomic_block_and_fail_async():
    await sync_to_async(leave_an_atomic_block.func)()
    raise ValueError("and then this")


@task
async def leave_autocommit_off_async():
    await sync_to_async(leave_autocommit_off.func)()


@task
async def close_the_drivers_connection_async():
    await sync_to_async(close_the_drivers_connection.func)()
