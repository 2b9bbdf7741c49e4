"""Listens to what a session tells SQLite, and makes backlogs."""

from collections.abc import Callable

import pytest
from django.db import connection, transaction


@pytest.fixture
def told(session) -> Callable[..., list[str]]:
    """The statements that the session runs while a function runs, with their values."""

    def listen(function) -> list[str]:
        statements: list[str] = []
        session._wrapper.ensure_connection()
        session._wrapper.connection.set_trace_callback(statements.append)
        try:
            function()
        finally:
            session._wrapper.connection.set_trace_callback(None)
        return [" ".join(statement.split()) for statement in statements]

    return listen


@pytest.fixture
def fill_backlog(database) -> Callable[..., None]:
    """Makes so many ready rows in each of some queues, of several priorities and both executors.

    Those of the highest priority, a seventh of them, have jobs.
    """

    def fill(each: int, *queues: str) -> None:
        rows = [
            (f"{number:032x}", queues[number % len(queues)], number % 7 - 3, number // 2 % 2)
            for number in range(each * len(queues))
        ]
        with transaction.atomic(), connection.cursor() as cursor:
            for table in ("ready_executions", "claimed_executions", "jobs"):
                cursor.execute(f"DELETE FROM dj_queue_{table}")
            cursor.executemany(
                "INSERT INTO dj_queue_ready_executions (job_id, backend_alias, queue_name, priority, "
                "executor, created_at) VALUES (%s, 'default', %s, %s, %s, '2026-03-01 10:00:00')",
                rows,
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

    return fill
