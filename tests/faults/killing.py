"""Killing processes while they work, at moments of which one can say which jobs had begun."""

import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil

from dj_queue.models import FailedExecution, Job, Process, ReadyExecution
from dj_queue.runtime import journal
from tests.contrib.servers import Server
from tests.contrib.standalone import command
from tests.faults.ledger import FULL, Ledger
from tests.waiting import wait_until

BETWEEN = (1.0, 3.0) if FULL else (0.2, 0.8)
"""Seconds from the moment that a process is chosen to its end."""

# As many as two processes run in a second or so.
_ENOUGH = 100


class Killer:
    """Kills processes, and keeps the numbers of the jobs that they had noted as begun and not settled.

    These are what must fail, no more and no fewer; and each must have begun in truth, by its own ledger.
    """

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.kills = 0
        self.interrupted: set[int] = set()
        self.noted: set[int] = set()
        self._ledger = ledger
        self._folder = folder
        self._journals = folder / "journals"
        self.options = {
            "workers": [{"threads": 4, "async_concurrency": 4}],
            "journal_directory": str(self._journals),
        }
        """For the processes; a worker in fork mode has two."""

    def kill(self, pid: int) -> None:
        """Kill *pid* when it has lived for a while and is in the middle of a job, in a child it may be."""
        at = time.monotonic() + random.uniform(*BETWEEN)
        process = psutil.Process(pid)

        def is_time() -> bool:
            if time.monotonic() < at:
                return False
            # A child's first job has begun with the import of its module, and so before its first line.
            if self._running(process) and all(map(self._ledger.ran, _children(process))):
                return True
            if not ReadyExecution.objects.exists():
                self._ledger.enqueue(_ENOUGH)
            return False

        wait_until(is_time, seconds=30, what=f"process {pid} is in the middle of a job")
        # Stopped first, so that nobody recovers it before its journal is read.
        stopped = [process, *process.children(recursive=True)]
        for each in stopped:
            each.suspend()
        wait_until(lambda: all(map(_is_stopped, stopped)), what=f"each thread of {pid} is stopped")
        self.noted |= self._noted(pid)
        self.interrupted |= self._running(process)
        # Its children are not: they have to see to that themselves.
        process.kill()
        self.kills += 1

    def _running(self, process: psutil.Process) -> set[int]:
        family = [process.pid, *_children(process)]
        return set().union(*map(self._ledger.running, family))

    def kill_and_start_anew(self, goes_on: Callable[[], bool]) -> None:
        """Let two processes run all jobs, and kill the older one again and again while *goes_on*."""
        with ExitStack() as stack:
            running: deque[Server] = deque()

            def start() -> None:
                log = self._folder / f"log-{self.kills}-{len(running)}"
                running.append(stack.enter_context(command(log, **self.options)))

            start()
            start()
            while goes_on():
                server = running.popleft()
                self.kill(server.process.pid)
                server.process.wait(10)
                start()
            self._ledger.wait_until_done(seconds=60)

            assert [server.stop() for server in running] == [0, 0]

    def assert_only_what_was_interrupted_failed(self) -> None:
        """Nothing is wrong with any job, and those fail that had begun in a process that was killed."""
        books = self._ledger.close()
        print(
            f"{len(self._ledger.began())} jobs, {self.kills} kills, failed {len(books.failed)}, "
            f"interrupted {len(self.interrupted)}, noted {len(self.noted)}, {books.wrong}"
        )
        assert books.wrong == {}
        assert self.interrupted
        failures = {
            row.job.payload["args"][1]: (row.exception_class, row.message)
            for row in FailedExecution.objects.select_related("job")
        }
        ended = "dj_queue.exceptions.ProcessExitError"
        assert {why for why in failures.values() if why[0] != ended} == set()
        assert self.interrupted <= failures.keys()
        unnoted = failures.keys() - self.noted
        assert {number: failures[number] for number in unnoted} == {}
        assert not Process.objects.exists()

    def _noted(self, pid: int) -> set[int]:
        [path] = self._journals.glob(f"*:{pid}:*.journal")
        begun = journal.begun_of(self._journals, path.stem)
        assert begun is not None
        jobs = Job.objects.filter(id__in=[claim.id for claim in begun])
        return {payload["args"][1] for payload in jobs.values_list("payload", flat=True)}


def _children(process: psutil.Process) -> list[int]:
    return [child.pid for child in process.children(recursive=True)]


def _is_stopped(process: psutil.Process) -> bool:
    """Whether each thread is: a signal has been sent long before all of them have got it."""
    try:
        threads = [thread.id for thread in process.threads()]
        return all(psutil.Process(each).status() == psutil.STATUS_STOPPED for each in threads)
    except psutil.NoSuchProcess:
        return True  # One that a task has started and that has ended.
