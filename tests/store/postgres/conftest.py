"""Looks over the shoulder of a PostgreSQL connection, and makes backlogs."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from django.db import connection
from psycopg.pq import Trace

_EMPTY = "TRUNCATE dj_queue_ready_executions, dj_queue_jobs CASCADE"


class Traffic(NamedTuple):
    """What a connection sent."""

    statements: int
    """Statements that the server was told to run, `BEGIN` and its like included."""
    round_trips: int
    """Times that the client waited for the server."""


@pytest.fixture
def traffic() -> Callable[..., Traffic]:
    """Counts what a psycopg connection sends while a function runs, in the messages of the protocol."""

    def count(raw, function) -> Traffic:
        with _traced(raw.pgconn) as messages:
            function()
            sent = messages()
        queries = sent.count("Query")
        return Traffic(queries + sent.count("Execute"), queries + sent.count("Sync"))

    return count


@contextmanager
def _traced(pgconn) -> Iterator[Callable[[], list[str]]]:
    with tempfile.TemporaryFile("w+") as file:

        def messages() -> list[str]:
            file.seek(0)
            lines = [line.split("\t") for line in file.read().splitlines()]
            return [line[2] for line in lines if len(line) > 2 and line[0] == "F"]

        pgconn.trace(file.fileno())
        pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
        try:
            yield messages
        finally:
            pgconn.untrace()


@pytest.fixture
def fill_backlog(database) -> Iterator[Callable[..., None]]:
    """Makes so many ready rows in each of some queues, of several priorities and both executors.

    Those of the highest priority, a seventh of them, have jobs.
    """

    def fill(each: int, *queues: str, is_analyzed: bool = True) -> None:
        with connection.cursor() as cursor:
            # Deleted rows of earlier tests stay in the indexes while any old transaction is open, in
            # whatever database of the server.
            cursor.execute(_EMPTY)
            cursor.execute(
                """
                INSERT INTO dj_queue_ready_executions
                    (job_id, backend_alias, queue_name, priority, executor, created_at)
                SELECT lpad(to_hex(number), 32, '0')::uuid, 'default', queues[1 + number %% %s],
                    number %% 7 - 3, number / 2 %% 2, now()
                FROM generate_series(1, %s) number, (SELECT %s::text[] AS queues) named
                """,
                [len(queues), each * len(queues), list(queues)],
            )
            cursor.execute(
                """
                INSERT INTO dj_queue_jobs (id, task_path, queue_name, priority, payload, backend_alias,
                    executor, created_at, updated_at)
                SELECT job_id, 'tests.site.tasks.add', queue_name, priority, '{"args": [], "kwargs": {}}',
                    backend_alias, executor, created_at, created_at
                FROM dj_queue_ready_executions WHERE priority = 3
                """
            )
            if is_analyzed:
                cursor.execute("ANALYZE dj_queue_ready_executions")

    yield fill
    with connection.cursor() as cursor:
        cursor.execute(_EMPTY)
