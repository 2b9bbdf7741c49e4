"""Asks MySQL and MariaDB what they did for a connection, and makes backlogs."""

from collections.abc import Callable, Iterator

import pytest
from django.db import connection

_EMPTY = (
    "TRUNCATE dj_queue_ready_executions",
    "TRUNCATE dj_queue_claimed_executions",
    "DELETE FROM dj_queue_jobs",
)
_DIGITS = " UNION ALL ".join(f"SELECT {digit} AS digit" for digit in range(10))
_NUMBERS = f"""
    SELECT a.digit + 10 * b.digit + 100 * c.digit + 1000 * d.digit + 10000 * e.digit AS number
    FROM ({_DIGITS}) a, ({_DIGITS}) b, ({_DIGITS}) c, ({_DIGITS}) d, ({_DIGITS}) e
"""


@pytest.fixture
def server_counts() -> Callable[..., dict[str, int]]:
    """How much the server's counters of a driver connection, by a pattern, grow while a function runs."""

    def read(raw, pattern) -> dict[str, int]:
        cursor = raw.cursor()
        cursor.execute("SHOW SESSION STATUS LIKE %s", (pattern,))
        return {name: int(value) for name, value in cursor.fetchall()}

    def count(raw, pattern, function) -> dict[str, int]:
        before = read(raw, pattern)
        function()
        after = read(raw, pattern)
        return {name: value - before[name] for name, value in after.items()}

    return count


@pytest.fixture
def statements(server_counts) -> Callable[..., int]:
    """How many statements a driver connection sends while a function runs, `BEGIN` and its like included."""

    def count(raw, function) -> int:
        # The second look at the counter counts itself.
        return server_counts(raw, "Questions", function)["Questions"] - 1

    return count


@pytest.fixture
def fill_backlog(database) -> Iterator[Callable[..., None]]:
    """Makes so many ready rows in each of some queues, of several priorities and both executors.

    Those of the highest priority, a seventh of them, have jobs.
    """

    def fill(each: int, *queues: str) -> None:
        names = ", ".join(["%s"] * len(queues))
        with connection.cursor() as cursor:
            _empty(cursor)
            cursor.execute(
                f"""
                INSERT INTO dj_queue_ready_executions
                    (job_id, backend_alias, queue_name, priority, executor, created_at)
                SELECT LPAD(HEX(number), 32, '0'), 'default', ELT(1 + number %% {len(queues)}, {names}),
                    number %% 7 - 3, number DIV 2 %% 2, UTC_TIMESTAMP(6)
                FROM ({_NUMBERS}) numbered WHERE number < %s ORDER BY number
                """,
                [*queues, each * len(queues)],
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

    yield fill
    with connection.cursor() as cursor:
        _empty(cursor)


def _empty(cursor) -> None:
    for statement in _EMPTY:
        cursor.execute(statement)
