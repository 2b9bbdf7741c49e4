"""Killing processes while they work, at moments of which one can say which jobs had begun."""

import os
import random
import signal
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
    """Kills processes, and keeps the numbers of the jobs that were caught on the edge.

    Such a job is noted in its process's journal as begun, and was killed before its first line. Between
    the two is a tenth of a millisecond, in which nobody can tell the one from the other.
    """

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.kills = 0
        self.interrupted: set[int] = set()
        self.on_the_edge: set[int] = set()
        self._ledger = ledger
        self._folder = folder
        self._journals = folder / "journals"
        self.options = {
            "workers": [{"threads": 4, "async_concurrency": 4}],
            "journal_directory": str(self._journals),
        }
        """For the processes; a worker in fork mode has two."""

    def kill(self, pid: int) -> None:
        """Kill *pid* when it has lived for a while and is in the middle of a job."""
        at = time.monotonic() + random.uniform(*BETWEEN)

        def is_time() -> bool:
            if time.monotonic() < at:
                return False
            if self._ledger.running(pid):
                return True
            if not ReadyExecution.objects.exists():
                self._ledger.enqueue(_ENOUGH)
            return False

        wait_until(is_time, what=f"process {pid} is in the middle of a job")
        # Stopped first, so that nobody recovers it before its journal is read.
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: _is_stopped(pid), what=f"each thread of process {pid} is stopped")
        noted = self._noted(pid)
        os.kill(pid, signal.SIGKILL)
        self.kills += 1
        self.interrupted |= self._ledger.running(pid)
        self.on_the_edge |= noted - set(self._ledger.began())

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
            f"interrupted {len(self.interrupted)}, on the edge {len(self.on_the_edge)}, {books.wrong}"
        )
        # Bad luck may catch one, but not all that a process has claimed.
        assert len(self.on_the_edge) <= 1 + self.kills // 4
        books.never_began -= self.on_the_edge
        assert books.wrong == {}
        assert self.interrupted
        assert self.interrupted <= books.failed
        assert set(FailedExecution.objects.values_list("exception_class", flat=True)) == {
            "dj_queue.exceptions.ProcessExitError"
        }
        assert not Process.objects.exists()

    def _noted(self, pid: int) -> set[int]:
        [path] = self._journals.glob(f"*:{pid}:*.journal")
        begun = journal.begun_of(self._journals, path.stem)
        assert begun is not None
        jobs = Job.objects.filter(id__in=[claim.id for claim in begun])
        return {payload["args"][1] for payload in jobs.values_list("payload", flat=True)}


def _is_stopped(pid: int) -> bool:
    """Whether each thread is: a signal has been sent long before all of them have got it."""
    threads = [thread.id for thread in psutil.Process(pid).threads()]
    return all(psutil.Process(thread).status() == psutil.STATUS_STOPPED for thread in threads)
