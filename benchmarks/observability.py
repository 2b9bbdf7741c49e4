"""How long stats, metrics and the answer to "why does it not run?" take with millions of rows.

    python -m benchmarks.observability [--finished 3000000] [--ready 500000] [--rounds 5]

On PostgreSQL, in a database of its own beside the one of `DJ_QUEUE_TEST_POSTGRES_URL` (by default
`postgres://postgres@127.0.0.1:5432/dj_queue`), which is filled by SQL and dropped at the end.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

from benchmarks.cpu import cpu_times, spent_between

_URL = "postgres://postgres@127.0.0.1:5432/dj_queue"

# Jobs in the order of their keys, as enqueuing makes them, in eight queues with five tasks each.
_JOBS = """
    INSERT INTO dj_queue_jobs (id, task_path, queue_name, priority, payload, backend_alias, executor,
        created_at, updated_at, finished_at, started_at, last_attempted_at)
    SELECT (lpad(to_hex(1767225600000 + n), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid,
        'shop.tasks.task_' || n %% 5, 'queue-' || n %% 8, 0, '{"args": [], "kwargs": {}}', 'default', 0,
        now() - interval '1 hour', now(), %s, now(), now()
    FROM generate_series(%s, %s) AS n
"""
_READY = """
    INSERT INTO dj_queue_ready_executions (job_id, backend_alias, queue_name, priority, executor, created_at)
    SELECT id, 'default', queue_name, priority, executor, created_at FROM dj_queue_jobs
    WHERE finished_at IS NULL
"""
_FAILED = """
    INSERT INTO dj_queue_failed_executions (job_id, exception_class, message, traceback, created_at)
    SELECT id, 'builtins.ValueError', '', '', now() FROM dj_queue_jobs LIMIT 20000
"""
_COUNTED = """
    INSERT INTO dj_queue_statistics (backend_alias, minute, queue_name, task_path, {names})
    SELECT 'default', minute, 'queue-' || queue, 'shop.tasks.task_' || task, {ones}
    FROM generate_series(0, 7) AS queue, generate_series(0, 4) AS task,
        (SELECT 0 AS minute UNION ALL
            SELECT floor(extract(epoch FROM now()) / 60)::bigint - n FROM generate_series(0, 1439) AS n)
        AS minutes
"""


def main() -> None:
    """Fill, measure, drop."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--finished", type=int, default=3_000_000)
    parser.add_argument("--ready", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    os.environ["DJ_QUEUE_TEST_DATABASE_URL"] = (
        os.environ.get("DJ_QUEUE_TEST_POSTGRES_URL", _URL) + "_observability"
    )
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    from django.test.utils import setup_databases, teardown_databases

    databases = setup_databases(verbosity=0, interactive=False)
    try:
        _fill(given.finished, given.ready)
        for name, asked in _questions().items():
            _measure(name, asked, given.rounds)
    finally:
        teardown_databases(databases, verbosity=0)


def _fill(finished: int, ready: int) -> None:
    from django.db import connection
    from django.utils import timezone

    from dj_queue.store.statistics import NUMBERS

    began = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute(_JOBS, (timezone.now(), 1, finished))
        cursor.execute(_JOBS, (None, finished + 1, finished + ready))
        cursor.execute(_READY)
        cursor.execute(_FAILED)
        cursor.execute(
            _COUNTED.format(names=", ".join(NUMBERS), ones=", ".join("1" for _ in NUMBERS))
        )
        cursor.execute("VACUUM ANALYZE")
    print(
        f"{finished:,} finished, {ready:,} ready and 20,000 failed jobs, "
        f"57,600 rows of statistics, written in {time.perf_counter() - began:.0f} s"
    )


def _questions() -> dict[str, Callable[[], object]]:
    from datetime import timedelta

    from django.utils import timezone

    from dj_queue import observability, probes
    from dj_queue.api import explain
    from dj_queue.contrib import prometheus
    from dj_queue.models import ReadyExecution
    from dj_queue.reads import throughput

    last = ReadyExecution.objects.order_by("-id").values_list("job_id", flat=True)[0]
    day = timezone.now() - timedelta(days=1)
    return {
        "stats.json": observability.stats_payload,
        "metrics": lambda: prometheus.exposition(""),
        "health": probes._ask,  # noqa: SLF001 - the one that is kept costs nothing
        "explain": lambda: explain(last),
        "24 h by task": lambda: throughput.by_task("default", "default", day),
        "24 h by minute": lambda: throughput.by_minute("default", "default", day, timezone.now()),
    }


def _measure(name: str, asked: Callable[[], object], rounds: int) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as seen:
        asked()
    slowest = max(seen.captured_queries, key=lambda query: float(query["time"]))
    taken = []
    pids = [os.getpid(), _server_pid()]
    before = cpu_times(pids)
    for _ in range(rounds):
        began = time.perf_counter()
        asked()
        taken.append((time.perf_counter() - began) * 1000)
    spent = spent_between(before, cpu_times(pids))
    cpu = "" if spent is None else f"{spent / rounds * 1000:.0f} ms of CPU here and in the server, "
    print(
        f"{name:<16} median {statistics.median(taken):6.1f} ms, slowest {max(taken):6.1f} ms, "
        f"{cpu}{len(seen)} statements; slowest at first {float(slowest['time']) * 1000:.0f} ms: "
        f"{' '.join(slowest['sql'].split())[:100]}"
    )


def _server_pid() -> int:
    """The server's process for our connection; only on this machine does it say anything."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


if __name__ == "__main__":
    main()
