"""Statistics: what ended in this process, counted in memory and added to the table every few seconds.

An attempt costs a few additions when its outcome is recorded, and no statement. A process that is killed
loses what it counted since it wrote last; one that stops writes first.
"""

import os
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import batched, chain

from dj_queue import events
from dj_queue.config import BackendConfig
from dj_queue.models.statistics import (
    BOUNDS,
    FAILURE,
    MISSED,
    OTHER_ERRORS,
    OTHER_TASKS,
    TOTALS,
    hour_of,
)
from dj_queue.store import Session
from dj_queue.store.records import Outcome
from dj_queue.store.statistics import OccurrenceRow, StatisticRow

WRITE_SECONDS = 10.0
"""How old what a living process has counted is at the most when the table has it."""

_ROWS_PER_STATEMENT = 200
_MOST_TASKS = 500
_LONGEST_PATH = 255
_BUCKETS = len(BOUNDS) + 1

type _Key = tuple[int, str, str]

# Kind, queue, task, and what it is about.
type _Occurred = tuple[str, str, str, str]


class Tally:
    """What ended under one key."""

    __slots__ = ("duration_sum", "durations", "failed", "finished", "retried", "wait_sum", "waits")

    def __init__(self) -> None:
        self.finished = self.failed = self.retried = 0
        self.duration_sum = self.wait_sum = 0.0
        self.durations = [0] * _BUCKETS
        self.waits = [0] * _BUCKETS

    def count(self, attempt: Outcome) -> None:
        """Add one attempt."""
        job, started_at = attempt.job, attempt.started_at
        if attempt.error is None:
            self.finished += 1
        else:
            self.failed += 1
        seconds = (attempt.finished_at - started_at).total_seconds()
        self.duration_sum += seconds
        self.durations[bisect_left(BOUNDS, seconds)] += 1
        if job.worker_ids:
            # How long a job waited for another attempt is how long it was told to.
            self.retried += 1
            return
        due = job.scheduled_at
        could_run_at = job.created_at if due is None or due < job.created_at else due
        seconds = max(0.0, (started_at - could_run_at).total_seconds())
        self.wait_sum += seconds
        self.waits[bisect_left(BOUNDS, seconds)] += 1

    def add(self, other: "Tally") -> None:
        """Add all that another one has counted."""
        self.finished += other.finished
        self.failed += other.failed
        self.retried += other.retried
        self.duration_sum += other.duration_sum
        self.wait_sum += other.wait_sum
        self.durations = [a + b for a, b in zip(self.durations, other.durations, strict=True)]
        self.waits = [a + b for a, b in zip(self.waits, other.waits, strict=True)]

    def row(self, key: _Key) -> StatisticRow:
        """What is to be added to the table under *key*."""
        return StatisticRow(
            *key,
            (
                self.finished, self.failed, self.retried, self.duration_sum, self.wait_sum,
                *self.durations, *self.waits,
            ),
        )  # fmt: skip


class Tallies:
    """What ended in this process for one backend, by minute, queue and task. Safe for any thread."""

    def __init__(self, backend_alias: str) -> None:
        self._backend_alias = backend_alias
        self.most_errors = 0
        """Classes of errors that are told apart; 0 where failures are not counted by them."""
        self._by_key: dict[_Key, Tally] = {}
        self._tasks: dict[str, str] = {}
        self._errors: set[str] = set()
        self._occurred: Counter[_Occurred] = Counter()
        # Guards all of them.
        self._lock = threading.Lock()

    def count(self, event: events.AttemptsRecorded) -> None:
        """Listen to *event*."""
        if event.backend != self._backend_alias or not event.attempts:
            return
        # What is written together ended at nearly the same time.
        minute = int(event.attempts[-1].finished_at.timestamp()) // 60
        with self._lock:
            for attempt in event.attempts:
                job = attempt.job
                path = job.task_path
                key = (minute, job.queue_name, self._tasks.get(path) or self._name(path))
                tally = self._by_key.get(key)
                if tally is None:
                    tally = self._by_key[key] = Tally()
                tally.count(attempt)
                if attempt.error is not None and self.most_errors:
                    error = self._error(attempt.error.exception_class)
                    self._occurred[FAILURE, job.queue_name, key[2], error] += 1

    def count_missed(self, event: events.RecurringTimesMissed) -> None:
        """Listen to *event*; however many times there were in a row, it is once."""
        if event.backend == self._backend_alias:
            with self._lock:
                self._occurred[MISSED, "", "", event.key] += 1

    def take_occurrences(self) -> Counter[_Occurred]:
        """What else has happened, which is then forgotten here."""
        with self._lock:
            taken, self._occurred = self._occurred, Counter()
        return taken

    def put_occurrences_back(self, taken: Counter[_Occurred]) -> None:
        """Count again what could not be written."""
        with self._lock:
            self._occurred += taken

    def take(self) -> Mapping[_Key, Tally]:
        """All that was counted, which is then forgotten here."""
        with self._lock:
            taken, self._by_key = self._by_key, {}
        return taken

    def put_back(self, taken: Mapping[_Key, Tally]) -> None:
        """Count again what could not be written."""
        with self._lock:
            for key, tally in taken.items():
                if key in self._by_key:
                    self._by_key[key].add(tally)
                else:
                    self._by_key[key] = tally

    def forget(self) -> None:
        """Begin anew, with a lock of our own: in a forked child another thread may seem to hold it."""
        self._lock = threading.Lock()
        self._by_key = {}
        self._occurred = Counter()

    def _error(self, path: str) -> str:
        if path not in self._errors:
            if len(path) > _LONGEST_PATH or len(self._errors) >= self.most_errors:
                return OTHER_ERRORS
            self._errors.add(path)
        return path

    def _name(self, path: str) -> str:
        if len(path) > _LONGEST_PATH or len(self._tasks) >= _MOST_TASKS:
            return OTHER_TASKS
        return self._tasks.setdefault(path, path)


class Statistics:
    """Writes what this process has counted for one backend; belongs to the thread that writes.

    Several of one backend in a process write from the same tallies, so nothing is counted twice.
    """

    def __init__(self, config: BackendConfig) -> None:
        self._backend_alias = config.alias
        self._is_wanted = config.options.statistics
        self._due_at = time.monotonic() + WRITE_SECONDS
        if self._is_wanted:
            _tallies_of(self._backend_alias).most_errors = config.options.statistics_errors

    def write_if_due(self, session: Session) -> None:
        """Write what was counted, if that was not done for `WRITE_SECONDS`."""
        if time.monotonic() >= self._due_at:
            self._due_at = time.monotonic() + WRITE_SECONDS
            self.write(session)

    def write(self, session: Session) -> None:
        """Add what was counted to the table; one statement for a few hundred keys, none for nothing.

        Raises `django.db.Error` when the database does not take it; what it did not take is kept.
        """
        if not self._is_wanted:
            return
        tallies = _tallies_of(self._backend_alias)
        # A minute and its part of its hour and of the totals go together.
        left = dict(sorted(tallies.take().items()))
        try:
            for some in batched(list(left), _ROWS_PER_STATEMENT // 3):
                session.add_statistics(sorted(_rows({key: left[key] for key in some})))
                for key in some:
                    del left[key]
        finally:
            tallies.put_back(left)
        self._write_occurrences(session, tallies)

    def _write_occurrences(self, session: Session, tallies: Tallies) -> None:
        left = tallies.take_occurrences()
        try:
            for some in batched(sorted(left), _ROWS_PER_STATEMENT):
                session.add_statistics([OccurrenceRow(*key, left[key]) for key in some])
                for key in some:
                    del left[key]
        finally:
            tallies.put_occurrences_back(left)


def _rows(tallies: Mapping[_Key, Tally]) -> Iterator[StatisticRow]:
    sums: dict[_Key, Tally] = {}
    for (minute, queue_name, task_path), tally in tallies.items():
        for longer in (hour_of(minute), TOTALS):
            sums.setdefault((longer, queue_name, task_path), Tally()).add(tally)
    return (tally.row(key) for key, tally in chain(sums.items(), tallies.items()))


_of_backends: dict[str, Tallies] = {}
# Guards _of_backends.
_lock = threading.Lock()


def _tallies_of(backend_alias: str) -> Tallies:
    """The tallies of this process, which listen from the first call on."""
    with _lock:
        tallies = _of_backends.get(backend_alias)
        if tallies is None:
            tallies = _of_backends[backend_alias] = Tallies(backend_alias)
            events.subscribe(events.AttemptsRecorded, tallies.count)
            events.subscribe(events.RecurringTimesMissed, tallies.count_missed)
        return tallies


def _forget_in_child() -> None:
    """What was counted before a fork is the parent's to write."""
    global _lock
    _lock = threading.Lock()
    for tallies in _of_backends.values():
        tallies.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
