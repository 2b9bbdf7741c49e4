"""What the suite of the stores stands on: sessions that are closed, processes that claim, jobs to claim.

Everything beside the folders `postgres`, `mysql` and `sqlite` is what the contract promises, and runs on
every vendor. A folder has what only its vendor promises or costs, and is collected for it alone.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connection, connections

from dj_queue.selectors import parse_selectors
from dj_queue.store import Session, Store, store_for
from dj_queue.store.records import Claimer, ProcessRecord
from dj_queue.store.wake import WakeSignal
from tests.waiting import wait_until

collect_ignore = [
    folder
    for folder, vendor in (("postgres", "postgresql"), ("mysql", "mysql"), ("sqlite", "sqlite"))
    if vendor != connection.vendor
]

DEADLINE = 10.0
"""Seconds after which something that should happen is taken not to happen."""


@pytest.fixture
def store() -> Store:
    return store_for("default")


@pytest.fixture
def open_session(store) -> Iterator[Callable[..., Session]]:
    """Opens sessions, which are closed when the test ends."""
    with ExitStack() as opened:

        def open_one(backend: str = "default", **listening: Any) -> Session:
            return opened.enter_context(store.open_session(backend, **listening))

        yield open_one


@pytest.fixture
def session(open_session) -> Session:
    return open_session()


@pytest.fixture
def wake() -> Iterator[WakeSignal]:
    signal = WakeSignal()
    yield signal
    signal.close()


@pytest.fixture
def make_claimer(session) -> Callable[..., Claimer]:
    """Registers a process, and returns the one who claims for it."""

    def make(queues: Sequence[str] = ("*",), *, name: str = "worker", **options: Any) -> Claimer:
        process_id = session.register([ProcessRecord(name, "Worker", 1, "host")])[name]
        backend = options.pop("backend", "default")
        return Claimer(backend, parse_selectors(queues), process_id, name, **options)

    return make


@pytest.fixture
def claimer(make_claimer) -> Claimer:
    """One that serves every queue."""
    return make_claimer()


@pytest.fixture
def in_threads() -> Callable[..., list[Any]]:
    """Runs functions at the same time; what they returned, or the first error."""

    def run(*functions: Callable[[], Any]) -> list[Any]:
        barrier = threading.Barrier(len(functions))

        def run_one(function: Callable[[], Any]) -> Any:
            try:
                barrier.wait(DEADLINE)
                return function()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(len(functions)) as threads:
            started = [threads.submit(run_one, function) for function in functions]
            return [each.result(DEADLINE * 3) for each in started]

    return run


@pytest.fixture
def break_connection() -> Callable[[Session], None]:
    """Takes a session's connection away, from the server's side where there is a server."""
    return {
        "postgresql": _terminate_postgres,
        "mysql": _kill_mysql,
        "sqlite": _close_sqlite,
    }[connection.vendor]


def _terminate_postgres(session: Any) -> None:
    pid = session._connection.info.backend_pid
    _execute("SELECT pg_terminate_backend(%s)", pid)
    _until_none("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid)


def _kill_mysql(session: Any) -> None:
    number = session._wrapper.connection.thread_id()
    _execute("KILL %s", number)
    _until_none("SELECT count(*) FROM information_schema.processlist WHERE id = %s", number)


def _close_sqlite(session: Any) -> None:
    session._wrapper.connection.close()


def _execute(statement: str, parameter: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [parameter])


def _until_none(statement: str, parameter: object) -> None:
    with connection.cursor() as cursor:

        def is_none() -> bool:
            cursor.execute(statement, [parameter])
            return cursor.fetchone()[0] == 0

        wait_until(is_none, seconds=DEADLINE, what="the server ended the connection")
