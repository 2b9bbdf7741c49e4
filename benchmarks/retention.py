"""How fast old jobs are cleared away, and what that does to the pickup of new ones.

    python -m benchmarks.retention [--jobs 100000] [--rate 50] [--seconds 15] [--rounds 3]

For each database: so many finished jobs of two days ago are in the table. A worker process (`manage.py
dj_queue`) that keeps them for ever runs jobs that this process enqueues at a fixed rate; then one that
keeps them for a day does the same, while it clears them. Pickup is from the call of enqueue to the first
line of the task. Then a backlog is drained by a worker that keeps what it has run for two seconds: four times
a second the jobs that are older are counted, which says whether clearing keeps up.

On SQLite, and on each server that `DJ_QUEUE_TEST_POSTGRES_URL`, `DJ_QUEUE_TEST_MARIADB_URL` and
`DJ_QUEUE_TEST_MYSQL_URL` name, in a database of its own beside the named one, which is dropped at the end.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.deadline import Deadline
from benchmarks.each_database import PROJECTS, add_options, run_on_each, site
from benchmarks.figures import percentile
from benchmarks.programs import Program
from benchmarks.recorder import Recorder

_ROOT = Path(__file__).parents[1]
_A_DAY = 86_400
_TOO_LONG = 300
_KEPT_SECONDS = 2


class Pickup(NamedTuple):
    """Seconds from the call of enqueue to the first line of the task."""

    waits: list[float]
    cleared_in: float | None
    """Seconds until nothing old was left; None where nothing was cleared."""

    def __str__(self) -> str:
        p50, p95, p99 = (percentile(self.waits, share) * 1000 for share in (0.5, 0.95, 0.99))
        return f"p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f}, max {max(self.waits) * 1000:.1f} ms"


def main() -> None:
    """Measure each database in a process of its own: Django is set up once in a process."""
    options = _options()
    if options.url:
        _measure(options)
    else:
        title = f"{options.jobs:,} old jobs, {options.rate}/s enqueued"
        run_on_each("benchmarks.retention", options, title)


def _measure(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="dj-queue-bench-") as name, site(options.url) as url:
        folder = Path(name)
        for number in range(1, options.rounds + 1):
            with Recorder(folder / "pipe") as recorder:
                bench = _Bench(url, folder, recorder, options)
                print(f"  round {number} of {options.rounds}", flush=True)
                if options.jobs:
                    bench.fill()
                    before = bench.pickup(clear_after=None)
                    during = bench.pickup(clear_after=_A_DAY)
                    assert during.cleared_in is not None
                    print(
                        f"      before: {before} ({len(before.waits)} jobs)\n"
                        f"      during: {during} ({len(during.waits)} jobs)\n"
                        f"      cleared in {during.cleared_in:.1f} s, "
                        f"{options.jobs / during.cleared_in:,.0f} jobs/s",
                        flush=True,
                    )
                if options.drain:
                    print(f"      {bench.drain()}", flush=True)


class _Bench:
    def __init__(
        self, url: str, folder: Path, recorder: Recorder, options: argparse.Namespace
    ) -> None:
        self._url = url
        self._folder = folder
        self._recorder = recorder
        self._options = options

    def fill(self) -> None:
        """Write finished jobs of two days ago, in the order of their ids."""
        from datetime import timedelta
        from uuid import UUID

        from django.db import connection
        from django.utils import timezone

        from dj_queue.ids import first_id_at
        from dj_queue.models import Job

        Job.objects.all().delete()
        ended = timezone.now() - timedelta(days=2)
        first = first_id_at(ended).int
        for start in range(0, self._options.jobs, 2000):
            Job.objects.bulk_create(
                Job(
                    id=UUID(int=first + start + n),
                    task_path="retention_site.jobs.record",
                    payload={"args": [start + n], "kwargs": {}},
                    worker_ids=["worker-1@host:1:0"],
                    created_at=ended,
                    started_at=ended,
                    last_attempted_at=ended,
                    finished_at=ended,
                )
                for n in range(2000)
            )
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("VACUUM ANALYZE dj_queue_jobs")

    def pickup(self, *, clear_after: float | None) -> Pickup:
        """Enqueue at the rate, for the time or until nothing old is left."""
        from retention_site.jobs import record

        rate, seconds = self._options.rate, self._options.seconds
        with self._worker(clear_after) as worker:
            began = time.monotonic()
            cleared = _Cleared(began) if clear_after else None
            called = {}
            self._recorder.discard()
            while (cleared is None and time.monotonic() - began < seconds) or (
                cleared is not None and not cleared.is_done
            ):
                number = len(called)
                time.sleep(max(0.0, began + number / rate - time.monotonic()))
                called[number] = time.monotonic()
                record.enqueue(number)
            records = self._recorder.collect(
                len(called), Deadline.after(60, "the last job"), check=worker.check_running
            )
        waits = [each.started_at - called[each.sequence] for each in records]
        return Pickup(waits, cleared.seconds if cleared else None)

    def drain(self) -> str:
        """Run jobs as fast as it goes, and clear them soon; how many are overdue at most."""
        from datetime import timedelta

        from django.db.models import Count, Min, Q
        from django.tasks import task_backends
        from django.utils import timezone
        from retention_site.jobs import record

        from dj_queue.models import Job

        Job.objects.all().delete()
        count = self._options.drain
        backend: Any = task_backends["default"]
        for start in range(0, count, 20_000):
            some = range(start, min(count, start + 20_000))
            backend.enqueue_all((record, (n,), {}) for n in some)
        most, latest, ended = 0, 0.0, None
        with self._worker(_KEPT_SECONDS, warm=False):
            deadline, began = Deadline.after(_TOO_LONG, "the drain"), time.monotonic()
            while ended is None or Job.objects.exists():
                deadline.remaining()
                time.sleep(0.25)
                due = timezone.now() - timedelta(seconds=_KEPT_SECONDS)
                seen = Job.objects.aggregate(
                    waiting=Count("pk", filter=Q(finished_at=None)),
                    overdue=Count("pk", filter=Q(finished_at__lt=due)),
                    oldest=Min("finished_at", filter=Q(finished_at__lt=due)),
                )
                if ended is None and not seen["waiting"]:
                    ended = time.monotonic()
                most = max(most, seen["overdue"])
                if seen["overdue"]:
                    latest = max(latest, (due - seen["oldest"]).total_seconds())
        seconds = ended - began
        return (
            f"{count:,} jobs drained in {seconds:.1f} s, {count / seconds:,.0f}/s; overdue at most "
            f"{most:,} at once, by {latest:.1f} s; "
            f"the last was gone {time.monotonic() - ended:.1f} s after it"
        )

    @contextmanager
    def _worker(self, clear_after: float | None, *, warm: bool = True) -> Iterator[Program]:
        from retention_site.jobs import record

        environment = {
            "DJ_QUEUE_BENCH_DATABASE_URL": self._url,
            "DJ_QUEUE_BENCH_PIPE": str(self._recorder.path),
            "DJ_QUEUE_BENCH_CLEAR_AFTER": "null" if clear_after is None else str(clear_after),
            "DJANGO_SETTINGS_MODULE": "retention_site.settings",
            "PYTHONPATH": os.pathsep.join((str(PROJECTS), str(_ROOT))),
        }
        command = [sys.executable, "-m", "django", "dj_queue"]
        log = self._folder / "worker.log"
        with Program(command, cwd=_ROOT, environment=environment, log=log) as worker:
            if warm:
                record.enqueue(-1)
                self._recorder.collect(
                    1, Deadline.after(60, "the worker"), check=worker.check_running
                )
            yield worker


class _Cleared:
    """Looks twenty times a second whether an old job is left, in a thread of its own."""

    def __init__(self, began: float) -> None:
        self.seconds: float | None = None
        self._began = began
        threading.Thread(target=self._look, daemon=True).start()

    @property
    def is_done(self) -> bool:
        return self.seconds is not None

    def _look(self) -> None:
        from datetime import timedelta

        from django.db import connection
        from django.utils import timezone

        from dj_queue.ids import first_id_at
        from dj_queue.models import Job

        old = Job.objects.filter(pk__lt=first_id_at(timezone.now() - timedelta(days=1)))
        while old.exists() and time.monotonic() - self._began < _TOO_LONG:
            time.sleep(0.05)
        connection.close()
        self.seconds = time.monotonic() - self._began


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.retention",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--jobs", type=int, default=100_000, help="old jobs; 0: only drain")
    parser.add_argument("--rate", type=int, default=50, help="jobs enqueued per second")
    parser.add_argument("--seconds", type=float, default=15.0, help="of enqueuing before")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--drain", type=int, default=100_000, help="jobs to drain; 0: not at all")
    add_options(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
