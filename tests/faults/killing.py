"""Killing processes while they work, at moments of which one can say which jobs had begun."""

import fcntl
import os
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

# Nobody waits for children that have ended while their parent is stopped.
_STANDING_STILL = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)

# As many as two processes run in a second or so.
_ENOUGH = 100


class Killer:
    """Kills processes, and keeps the numbers of the jobs that they have noted as begun and not settled.

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
            if self._is_in_the_middle(process):
                stopped = _stop(process)
                # Some time has gone by until all of it stood still.
                if self._is_in_the_middle(process):
                    return True
                for each in stopped:
                    each.resume()
            if not ReadyExecution.objects.exists():
                self._ledger.enqueue(_ENOUGH)
            return False

        wait_until(is_time, seconds=30, what=f"process {pid} is in the middle of a job")
        family = [pid, *_children(process)]
        self.noted |= self._noted_at_death(process)
        self.interrupted |= self._running(family)
        self.kills += 1

    def _is_in_the_middle(self, process: psutil.Process) -> bool:
        children = _children(process)
        # A child's first job has begun with the import of its module, and so before its first line.
        return bool(self._running([process.pid, *children])) and all(
            map(self._ledger.ran, children)
        )

    def _running(self, family: list[int]) -> set[int]:
        return set().union(*map(self._ledger.running, family))

    def _noted_at_death(self, process: psutil.Process) -> set[int]:
        """Kill *process*; what was noted as begun and not settled when it and its children were dead.

        Not before: when their parent dies, the kernel may let stopped children go on for a moment.
        """
        [path] = self._journals.glob(f"*:{process.pid}:*.journal")
        descriptor = os.open(path, os.O_RDWR)
        try:
            # As a child of it has, so that nobody else recovers it before it is read.
            fcntl.lockf(descriptor, fcntl.LOCK_SH, 1, 1)
            # Its children are not killed: they have to see to that themselves.
            process.kill()
            wait_until(lambda: _is_ours(descriptor), what="all who could note something are dead")
            begun = journal.notes_of(self._journals, path.stem).begun
        finally:
            os.close(descriptor)
        assert begun is not None
        jobs = Job.objects.filter(id__in=[claim.id for claim in begun])
        return {payload["args"][1] for payload in jobs.values_list("payload", flat=True)}

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


def _children(process: psutil.Process) -> list[int]:
    return [child.pid for child in process.children(recursive=True)]


def _stop(process: psutil.Process) -> list[psutil.Process]:
    """Let *process* and its children stand still; all of them."""
    process.suspend()
    wait_until(lambda: _is_stopped(process), what=f"each thread of {process.pid} is stopped")
    # Now it starts no more of them.
    children = process.children(recursive=True)
    for child in children:
        child.suspend()
    wait_until(lambda: all(map(_is_stopped, children)), what="each thread of its children is")
    return [process, *children]


def _is_stopped(process: psutil.Process) -> bool:
    """Whether each thread is, or all are gone: the signal has been sent long before each has got it."""
    try:
        threads = [thread.id for thread in process.threads()]
        return all(psutil.Process(each).status() in _STANDING_STILL for each in threads)
    except psutil.NoSuchProcess:
        # Or only one of them, which says nothing of the others.
        return not process.is_running()


def _is_ours(descriptor: int) -> bool:
    """Whether nobody else has a lock on the file any more."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
