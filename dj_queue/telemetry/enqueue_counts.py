"""How many jobs this process has enqueued, added to the table of statistics by whoever enqueues next.

With `OPTIONS["statistics_enqueued"]`. Who only enqueues has no thread of this library, and none is started:
what has committed is counted in memory, and at most once in `WRITE_SECONDS` an enqueue that finds the time up
writes it, on its own connection and after its own commit. The rest is written when the process ends.
"""

import atexit
import logging
import os
import threading
import time
from collections import Counter
from contextlib import suppress

from django.db import Error, IntegrityError, connections, transaction
from django.db.models import F

from dj_queue import events, tracing
from dj_queue.config import backend_config
from dj_queue.models import Occurrence
from dj_queue.models.statistics import ENQUEUED, OTHER_TASKS

_logger = logging.getLogger("dj_queue.telemetry")

WRITE_SECONDS = 10.0
"""How long an enqueue writes nothing after one that did."""

_MOST_TASKS = 500
_LONGEST_PATH = 255

# A backend, a queue, a task.
type _Key = tuple[str, str, str]


class EnqueueCounts:
    """What was enqueued and is not written yet. Safe for any thread."""

    def __init__(self) -> None:
        self._counted: Counter[_Key] = Counter()
        self._tasks: set[str] = set()
        self._due_at = 0.0
        # Guards all of them, and never while anything is written.
        self._lock = threading.Lock()

    def count(self, event: events.JobsEnqueued) -> None:
        """Listen to *event*, and write if that is due."""
        if not backend_config(event.backend).options.statistics_enqueued:
            return
        with self._lock:
            for job in event.jobs:
                self._counted[event.backend, job.queue_name, self._name(job.task_path)] += 1
            if time.monotonic() < self._due_at:
                return
            self._due_at = time.monotonic() + WRITE_SECONDS
        self.write()

    def write(self) -> None:
        """Add what was counted to the table, each in a transaction of its own; what fails is kept."""
        with self._lock:
            left, self._counted = self._counted, Counter()
        try:
            with tracing.bookkeeping():
                # In one order for all processes, though none of them holds two rows.
                for key in sorted(left):
                    if _add(*key, left[key]):
                        left[key] = 0
        except Error:
            _logger.warning("What was enqueued could not be counted yet.", exc_info=True)
        finally:
            with self._lock:
                self._counted += left

    def forget(self) -> None:
        """Begin anew, with a new lock: in a forked child what was counted is the parent's to write."""
        self._counted = Counter()
        self._lock = threading.Lock()

    def _name(self, path: str) -> str:
        if path not in self._tasks:
            if len(path) > _LONGEST_PATH or len(self._tasks) >= _MOST_TASKS:
                return OTHER_TASKS
            self._tasks.add(path)
        return path


def _add(backend: str, queue_name: str, task_path: str, number: int) -> bool:
    """Add *number* to a row; False inside of a transaction, which would keep the row locked."""
    database = backend_config(backend).options.database_alias
    connection = connections[database]
    if connection.in_atomic_block or not connection.get_autocommit():
        return False
    key = {
        "backend_alias": backend,
        "kind": ENQUEUED,
        "queue_name": queue_name,
        "task_path": task_path,
        "about": "",
    }
    rows = Occurrence.objects.using(database).filter(**key)
    if not rows.update(times=F("times") + number):
        try:
            with transaction.atomic(using=database):
                Occurrence.objects.using(database).create(**key, times=number)
        except IntegrityError:  # Another process was first.
            rows.update(times=F("times") + number)
    return True


_counts = EnqueueCounts()


def listen() -> None:
    """Count from now on; whether anybody wants that is asked of each backend when it enqueues."""
    events.subscribe(events.JobsEnqueued, _counts.count, when=_never)
    atexit.register(_write_at_exit)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_counts.forget)


def _never() -> bool:
    return False


def _write_at_exit() -> None:
    # Whatever there is to complain about, nobody is there any more.
    with suppress(Exception):
        _counts.write()
