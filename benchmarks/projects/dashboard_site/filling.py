"""A large queue, made by SQL: millions of jobs, and some of everything else that pages show.

The tables are described once for both contenders. A column that a contender's table has not is left out, and
so is a table that it has not.
"""

from collections.abc import Mapping
from typing import Any

from django.db import connection

_QUEUES, _TASKS, _PROCESSES = 8, 20, 6
# Each pair of a queue and a task that has jobs: the least common multiple of the two.
_PAIRS = 40
_KEYS, _RECURRING, _FIRINGS = 2_000, 50, 10_000
_WEEK_OF_MINUTES = 7 * 24 * 60

_OTHERS = {"failed": 20_000, "scheduled": 50_000, "blocked": 20_000, "claimed": 200}
# Over how much time, up to now, the jobs of a state were enqueued.
_SPREAD = {
    "finished": "7 days",
    "failed": "7 days",
    "scheduled": "1 day",
    "blocked": "1 hour",
    "ready": "2 hours",
    "claimed": "1 minute",
}
_ERRORS = ("builtins.ValueError", "builtins.KeyError", "shop.errors.Declined", "builtins.OSError")

type Columns = Mapping[str, str]
"""SQL by the name of the column that it is for."""


def fill(finished: int, ready: int) -> dict[str, str]:
    """Fill the empty tables; the id of one job in each state."""
    with connection.cursor() as cursor:
        # What is made here needs no commit that survives.
        cursor.execute("SET synchronous_commit = off")
        counts = {"finished": finished, **_OTHERS, "ready": ready}
        _processes(cursor)
        first = 1
        for state, count in counts.items():
            _jobs(cursor, state, first, count)
            if state != "finished":
                _executions(cursor, state, first, count)
            first += count
        _limits(cursor)
        _recurring(cursor, finished)
        _statistics(cursor)
        cursor.execute("VACUUM ANALYZE")
        return _samples(cursor, counts)


def _jobs(cursor: Any, state: str, first: int, count: int) -> None:
    spread = _SPREAD[state]
    came = f"now() - interval '{spread}' * (1 - (n - {first}) / {count}::float8)"
    rows = f"(SELECT n, {came} AS came FROM generate_series({first}, {first + count - 1}) AS n) AS made"
    ran = state in ("finished", "failed", "claimed")
    columns = {
        "id": _id("n", "came"),
        "task_path": f"'shop.tasks.task_' || n % {_TASKS}",
        "queue_name": f"'queue-' || n % {_QUEUES}",
        "priority": "0",
        "payload": """'{"args": [12, "customer"], "kwargs": {"notify": true}}'::jsonb""",
        "backend_alias": "'default'",
        "executor": "0",
        "created_at": "came",
        "updated_at": "came",
        "scheduled_at": "came + interval '2 days'" if state == "scheduled" else "NULL",
        "concurrency_key": f"'account/' || n % {_KEYS}" if state == "blocked" else "NULL",
        "concurrency_limit": "1" if state == "blocked" else "NULL",
        "concurrency_on_conflict": "'block'" if state == "blocked" else "NULL",
        "started_at": "came + interval '1 second'" if ran else "NULL",
        "last_attempted_at": "came + interval '1 second'" if ran else "NULL",
        "finished_at": "came + interval '2 seconds'" if state == "finished" else "NULL",
        "worker_ids": """'["worker-1@host:1"]'::jsonb""" if state != "ready" and ran else "NULL",
    }
    _insert(cursor, "dj_queue_jobs", columns, rows)


def _executions(cursor: Any, state: str, first: int, count: int) -> None:
    # The number of a job is the end of its id.
    number = "('x' || right(id::text, 12))::bit(48)::bigint"
    rows = (
        f"(SELECT dj_queue_jobs.*, {number} AS n FROM dj_queue_jobs WHERE finished_at IS NULL "
        f"AND {number} BETWEEN {first} AND {first + count - 1} ORDER BY id) AS made"
    )
    errors = " ".join(f"WHEN {place} THEN '{name}'" for place, name in enumerate(_ERRORS))
    columns = {
        "job_id": "id",
        "backend_alias": "backend_alias",
        "queue_name": "queue_name",
        "priority": "priority",
        "executor": "0",
        "created_at": "created_at",
    }
    more: dict[str, Columns] = {
        "ready": {},
        "scheduled": {"scheduled_at": "scheduled_at"},
        "blocked": {
            "concurrency_key": "concurrency_key",
            "expires_at": "now() + interval '1 hour'",
            "waits": "true",
        },
        "claimed": {
            "process_id": "(SELECT min(id) FROM dj_queue_processes WHERE kind = 'Worker') "
            f"+ n % {_PROCESSES}",
            "token": "n",
            "started_at": "created_at",
        },
        "failed": {
            "exception_class": f"CASE (n / 7) % {len(_ERRORS)} {errors} END",
            "message": "'it broke'",
            "traceback": "repeat('  File \"shop/tasks.py\", line 12, in task' || chr(10), 40)",
        },
    }
    _insert(cursor, f"dj_queue_{state}_executions", {**columns, **more[state]}, rows)


def _processes(cursor: Any) -> None:
    for kind in ("Supervisor", "Worker", "Dispatcher"):
        columns = {
            "backend_alias": "'default'",
            "kind": f"'{kind}'",
            "name": f"'{kind.lower()}-1@host:' || n || ':abc'",
            "pid": "n",
            "hostname": "'host'",
            "metadata": """'{"queues": "*", "threads": 3}'::jsonb""",
            # They are alive for as long as this may take.
            "last_heartbeat_at": "now() + interval '1 hour'",
            "created_at": "now()",
            "supervisor_id": "NULL"
            if kind == "Supervisor"
            else "(SELECT id FROM dj_queue_processes WHERE kind = 'Supervisor' AND pid = n)",
        }
        _insert(cursor, "dj_queue_processes", columns, f"generate_series(1, {_PROCESSES}) AS n")
    leader = {
        "backend_alias": "'default'",
        "role": "role",
        "process_name": "'dispatcher-1@host:1:abc'",
        "pid": "1",
        "hostname": "'host'",
        "incarnation": "''",
        "term": "1",
        "since": "now()",
        "progress_at": "now() + interval '1 hour'",
    }
    _insert(
        cursor,
        "dj_queue_leaderships",
        leader,
        "(VALUES ('dispatcher'), ('scheduler')) AS of (role)",
    )


def _limits(cursor: Any) -> None:
    rows = f"generate_series(0, {_KEYS - 1}) AS n"
    columns = {
        "key": "'account/' || n",
        "value": "0",
        "limit": "1",
        "active_count": "1",
        "limit_set_at": "now()",
        "expires_at": "now() + interval '1 hour'",
        "created_at": "now()",
        "updated_at": "now()",
    }
    _insert(cursor, "dj_queue_semaphores", columns, rows)
    _insert(cursor, "dj_queue_semaphore_holders", {**columns, "expires_at": "NULL"}, rows)


def _recurring(cursor: Any, finished: int) -> None:
    task = {
        "backend_alias": "'default'",
        "key": "'report_' || n",
        "task_path": "'shop.tasks.report'",
        "schedule": "'*/5 * * * *'",
        "queue_name": f"'queue-' || n % {_QUEUES}",
        "priority": "0",
        "payload": """'{"args": [], "kwargs": {}}'::jsonb""",
        "description": "''",
        "static": "true",
        "enabled": "true",
        "catch_up": "'latest'",
        "disabled_by_hand": "false",
        "next_run_at": "now() + interval '1 hour'",
        "created_at": "now()",
        "updated_at": "now()",
    }
    _insert(cursor, "dj_queue_recurring_tasks", task, f"generate_series(1, {_RECURRING}) AS n")
    firing = {
        "backend_alias": "'default'",
        "task_key": f"'report_' || 1 + n % {_RECURRING}",
        "run_at": "created_at",
        "job_id": "id",
        "intended_job_id": "id",
        "created_at": "created_at",
    }
    some = min(_FIRINGS, finished)
    rows = (
        f"(SELECT id, created_at, row_number() OVER () AS n FROM dj_queue_jobs "
        f"WHERE finished_at IS NOT NULL LIMIT {some}) AS made"
    )
    _insert(cursor, "dj_queue_recurring_executions", firing, rows)


def _statistics(cursor: Any) -> None:
    """A week of minutes for each task and queue, their hours, and the totals."""
    table = "dj_queue_statistics"
    numbers = [
        name
        for name in _columns(cursor, table)
        if name not in ("id", "backend_alias", "minute", "queue_name", "task_path")
    ]
    if not numbers:
        return
    names, sums = ", ".join(numbers), ", ".join(f"sum({name})" for name in numbers)
    key = {
        "backend_alias": "'default'",
        "minute": "minute",
        "queue_name": f"'queue-' || n % {_QUEUES}",
        "task_path": f"'shop.tasks.task_' || n % {_TASKS}",
    }
    this = "floor(extract(epoch FROM now()) / 60)::bigint"
    minutes = f"generate_series({this} - {_WEEK_OF_MINUTES}, {this}) AS minute"
    rows = f"generate_series(1, {_PAIRS}) AS n, {minutes}"
    _insert(cursor, table, {**key, **dict.fromkeys(numbers, "1 + minute % 3")}, rows)
    # As processes write them: an hour is a negative number, everything ever is 0.
    for minute in ("-(minute / 60)", "0"):
        cursor.execute(
            f"INSERT INTO {table} (backend_alias, minute, queue_name, task_path, {names}) "
            f"SELECT backend_alias, {minute}, queue_name, task_path, {sums} FROM {table} "
            f"WHERE minute > 0 GROUP BY 1, 2, 3, 4"
        )


def _samples(cursor: Any, counts: Mapping[str, int]) -> dict[str, str]:
    found = {}
    for state in counts:
        query = (
            "SELECT id FROM dj_queue_jobs WHERE finished_at IS NOT NULL ORDER BY id LIMIT 1 OFFSET 1000"
            if state == "finished"
            else f"SELECT job_id FROM dj_queue_{state}_executions ORDER BY id DESC LIMIT 1"
        )
        cursor.execute(query)
        if row := cursor.fetchone():
            found[state] = str(row[0])
    return found


def _insert(cursor: Any, table: str, columns: Columns, rows: str) -> None:
    kept = {name: columns[name] for name in _columns(cursor, table) if name in columns}
    if not kept:
        return
    names = ", ".join(f'"{name}"' for name in kept)
    statement = f"INSERT INTO {table} ({names}) SELECT {', '.join(kept.values())} FROM {rows}"
    cursor.execute(statement)


def _columns(cursor: Any, table: str) -> list[str]:
    cursor.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s "
        "AND is_generated = 'NEVER' ORDER BY ordinal_position",
        [table],
    )
    return [name for (name,) in cursor.fetchall()]


def _id(number: str, moment: str) -> str:
    """A UUID of version 7 of *moment*, which ends with *number*."""
    milliseconds = f"(extract(epoch FROM {moment}) * 1000)::bigint"
    return f"(lpad(to_hex({milliseconds}), 12, '0') || '70008' || lpad(to_hex({number}), 15, '0'))::uuid"
