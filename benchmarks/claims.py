"""What a claim costs the database with few and with many ready jobs.

    python -m benchmarks.claims [--small 1000] [--large 1000000] [--claims 100] [--jobs 50]

For each database, for `*`, the name of the queue and a prefix of it, and with another queue paused or not: so
many claims of so many jobs, by turns. After each, what was claimed is finished and as much is enqueued again.
Shown is the median of the CPU time of a claim in the server's thread for this session, or in this thread
(SQLite): other than the time until the answer, it does not depend on who else uses disk and machine.
The server must run on this machine, and that must be Linux.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.each_database import add_options, run_on_each, site

_SELECTORS = ("*", "default", "def*")
_WARM_UP = 5


def main() -> None:
    """Measure each database in a process of its own."""
    options = _options()
    if not options.url:
        run_on_each("benchmarks.claims", options, f"CPU of a claim of {options.jobs} jobs, ms")
        return
    os.environ["DJ_QUEUE_BENCH_PIPE"] = os.devnull
    with site(options.url):
        small, large = (_measure(size, options) for size in (options.small, options.large))
    print(f"  {'':18} {options.small:>11,} {options.large:>11,}   ratio")
    for case, before in small.items():
        print(f"  {case:18} {before:11.2f} {large[case]:11.2f} {large[case] / before:7.2f}")


def _measure(size: int, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of CPU that a claim takes, for each case, with *size* jobs ready."""
    from dj_queue.models import Pause
    from dj_queue.selectors import parse_selectors
    from dj_queue.store import store_for
    from dj_queue.store.records import Claimer, ProcessRecord

    _fill(size)
    seconds: dict[str, list[float]] = {}
    with store_for("default").open_session("default") as session:
        clock = _clock(session)
        process = session.register([ProcessRecord("bench", "Worker", os.getpid(), "bench")])
        for paused in (False, True):
            Pause.objects.all().delete()
            if paused:
                Pause.objects.create(queue_name="other")
            for _ in range(_WARM_UP + options.claims):
                for selector in _SELECTORS:
                    selection = parse_selectors([selector])
                    claimer = Claimer("default", selection, process["bench"], "bench")
                    case = f"{selector}{', one paused' if paused else ''}"
                    seconds.setdefault(case, []).append(
                        _claim(session, claimer, options.jobs, clock)
                    )
    return {case: 1000 * median(each[_WARM_UP:]) for case, each in seconds.items()}


def _claim(session: Any, claimer: Any, jobs: int, clock: Callable[[], float]) -> float:
    """Seconds of one claim; as many jobs are ready afterwards as before."""
    from dj_queue.store.records import Outcome, Room

    began = clock()
    claimed = session.exchange(claimer, (), Room(jobs, 0)).claimed
    seconds = clock() - began
    assert len(claimed) == jobs
    now = session.now()
    done = [Outcome(job=job, started_at=now, finished_at=now, result=None) for job in claimed]
    session.exchange(claimer, done, Room(0, 0))
    _enqueue(jobs)
    return seconds


def _clock(session: Any) -> Callable[[], float]:
    """Shows how long the thread that does the work of *session* has been on a CPU."""
    from django.db import connection

    if connection.vendor == "sqlite":
        return time.thread_time
    session.now()  # It connects at its first use.
    if connection.vendor == "postgresql":
        thread = session._connection.info.backend_pid  # noqa: SLF001
    elif connection.mysql_is_mariadb:
        statement = "SELECT tid FROM information_schema.processlist WHERE id = connection_id()"
        [(thread,)] = session.execute(statement)
    else:
        statement = (
            "SELECT thread_os_id FROM performance_schema.threads "
            "WHERE processlist_id = connection_id()"
        )
        [(thread,)] = session.execute(statement)
    spent = Path(f"/proc/{thread}/schedstat")
    return lambda: int(spent.read_text().split()[0]) / 1e9


def _fill(size: int) -> None:
    """Enqueue until *size* jobs are ready, and let the database count them."""
    from django.db import connection

    from dj_queue.models import ReadyExecution

    missing = size - ReadyExecution.objects.count()
    for start in range(0, missing, 10_000):
        _enqueue(min(10_000, missing - start))
    statements = {
        "postgresql": ("VACUUM ANALYZE", "CHECKPOINT"),
        "mysql": ("ANALYZE TABLE dj_queue_ready_executions, dj_queue_jobs",),
    }
    with connection.cursor() as cursor:
        for statement in statements.get(connection.vendor, ()):
            cursor.execute(statement)


def _enqueue(jobs: int) -> None:
    from django.tasks import task_backends
    from retention_site.jobs import record

    backend: Any = task_backends["default"]
    backend.enqueue_all([(record, (0,), {})] * jobs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.claims",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--small", type=int, default=1_000, help="ready jobs")
    parser.add_argument("--large", type=int, default=1_000_000, help="ready jobs")
    parser.add_argument("--claims", type=int, default=100, help="of each kind")
    parser.add_argument("--jobs", type=int, default=50, help="per claim")
    add_options(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
