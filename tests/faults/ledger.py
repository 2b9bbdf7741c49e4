"""What tasks say of themselves, held against what the database says of them."""

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from django.tasks import task_backends

from dj_queue.models import (
    ClaimedExecution,
    FailedExecution,
    Job,
    ReadyExecution,
    ScheduledExecution,
)
from tests.site import fault_tasks
from tests.waiting import wait_until

FULL = bool(os.environ.get("DJ_QUEUE_TEST_FAULTS_FULL"))
"""Whether to run the sizes that we promise; without it, as much as every change can wait for."""

SECONDS = (0.0, 0.02, 0.1, 0.28)
"""How long jobs take, in turn: some are taken ahead in batches, and some are surely in the middle."""

_FOLLOWERS = 1_000_000

# More than there are in one process, jobs on event loops included.
_MOST_THREADS = 100


class Line(NamedTuple):
    """One record of the ledger."""

    pid: int
    at: float
    """By the machine's monotonic clock."""


@dataclass
class Books:
    """The numbers of jobs with which something is wrong; and of those that failed, which is not always."""

    lost: set[int] = field(default_factory=set)
    """Enqueued, and in no table."""
    stuck: set[int] = field(default_factory=set)
    """Neither finished nor failed, though nobody works any more."""
    twice: set[int] = field(default_factory=set)
    """Began more than once."""
    never_began: set[int] = field(default_factory=set)
    """Failed without having begun."""
    hollow: set[int] = field(default_factory=set)
    """Finished, but did not end."""
    failed: set[int] = field(default_factory=set)

    @property
    def wrong(self) -> dict[str, set[int]]:
        """All that must not be, by its name; failures that had begun are left out."""
        names = ("lost", "stuck", "twice", "never_began", "hollow")
        return {name: numbers for name in names if (numbers := getattr(self, name))}


class Ledger:
    """Enqueues numbered jobs that keep a ledger at *path*, and reads what they have written.

    Each process writes to files of its own, which are called *path*, its pid and a number.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.enqueued: set[int] = set()
        self.stretch = 1
        """What the time of each job is multiplied by."""
        self._words: dict[str, dict[int, list[Line]]] = defaultdict(lambda: defaultdict(list))
        self._read_until: dict[Path, int] = defaultdict(int)
        self._known: set[tuple[Path, int]] = set()
        """Places after that which have been read."""

    def enqueue(
        self, count: int, seconds: float | None = None, *, need_database: bool = True
    ) -> list[int]:
        """Enqueue so many jobs of every kind, or of one that takes *seconds*; their numbers.

        One job in ten enqueues another one, and so needs the database while it runs.
        """
        first = len(self.enqueued)
        numbers = list(range(first, first + count))
        calls = [self._call(number, seconds, need_database) for number in numbers]
        task_backends["default"].enqueue_all(calls)
        self.enqueued.update(numbers)
        return numbers

    def _call(
        self, number: int, seconds: float | None, need_database: bool
    ) -> tuple[object, tuple[object, ...], dict[str, object]]:
        path = str(self.path)
        if seconds is not None:
            return fault_tasks.record, (path, number, seconds), {}
        if number % 10 == 0 and need_database:
            return fault_tasks.record_and_enqueue, (path, number, _FOLLOWERS + number), {}
        kind = fault_tasks.record_async if number % 5 == 1 else fault_tasks.record
        return kind, (path, number, self.stretch * SECONDS[number % len(SECONDS)]), {}

    def began(self) -> dict[int, list[Line]]:
        """Each beginning, by number."""
        return self._said("began")

    def ended(self) -> dict[int, list[Line]]:
        """Each end, by number."""
        return self._said("ended")

    def running(self, pid: int | None = None) -> set[int]:
        """The numbers that began, in the process *pid* if it is given, and did not end."""
        ended = self.ended()
        return {
            number
            for number, lines in self.began().items()
            if number not in ended and (pid is None or any(line.pid == pid for line in lines))
        }

    def ran(self, pid: int) -> set[int]:
        """The numbers that ended in the process *pid*."""
        return {
            number for number, lines in self.ended().items() if any(e.pid == pid for e in lines)
        }

    def wait_until_done(self, *, seconds: float = 30) -> None:
        """Wait until every job has finished or failed."""
        waiting = (ReadyExecution, ScheduledExecution, ClaimedExecution)
        wait_until(
            lambda: not any(table.objects.exists() for table in waiting),
            seconds=seconds,
            what="nothing is ready, scheduled or claimed",
        )

    def close(self) -> Books:
        """What is wrong, when nobody works any more."""
        books, began, ended = Books(), self.began(), self.ended()
        failures = set(FailedExecution.objects.values_list("job_id", flat=True))
        known = set()
        for job in Job.objects.all():
            number = job.payload["args"][1]
            known.add(number)
            if job.finished_at is not None:
                if len(ended.get(number, ())) != 1:
                    books.hollow.add(number)
            elif job.id in failures:
                books.failed.add(number)
            else:
                books.stuck.add(number)
        books.lost = (self.enqueued | set(self._said("enqueued"))) - known
        books.twice = {number for number, lines in began.items() if len(lines) > 1}
        books.never_began = books.failed - set(began)
        return books

    def _said(self, word: str) -> dict[int, list[Line]]:
        self._read()
        return self._words[word]

    def _read(self) -> None:
        size = fault_tasks.RECORD.size
        for file in self.path.parent.glob(f"{self.path.name}.*.*"):
            pid = int(file.suffixes[-2].removeprefix("."))
            content, missing = file.read_bytes(), 0
            for place in range(self._read_until[file], len(content) - size + 1, size):
                if (file, place) in self._known:
                    continue
                number, at, code = fault_tasks.RECORD.unpack_from(content, place)
                if code:
                    self._known.add((file, place))
                    self._words[fault_tasks.WORDS[code]][number].append(Line(pid, at))
                else:
                    # A thread that has its place may write after others, or be killed before it does.
                    missing += 1
                    if missing > _MOST_THREADS:
                        break
            while (file, self._read_until[file]) in self._known:
                self._known.remove((file, self._read_until[file]))
                self._read_until[file] += size
