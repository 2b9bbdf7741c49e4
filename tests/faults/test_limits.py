"""Processes are killed while they run jobs with a limit: never too many at once, and no slot is lost."""

import random
import time
from collections import defaultdict, deque
from contextlib import ExitStack

from django.tasks import task_backends

from dj_queue.models import BlockedExecution, Semaphore, SemaphoreHolder
from tests.contrib.standalone import command
from tests.faults.ledger import FULL
from tests.site import limited_tasks
from tests.waiting import wait_until

KEYS, LIMIT = 4, 2
JOBS = 80
KILLS = 40 if FULL else 2


def test_no_key_ever_has_more_than_its_limit_and_none_loses_a_slot(ledger, tmp_path):
    options = {"workers": [{"threads": 6}], "journal_directory": str(tmp_path / "journals")}
    killed_at = {}
    with ExitStack() as stack:
        running = deque()

        def start():
            log = tmp_path / f"log-{len(killed_at)}-{len(running)}"
            running.append(stack.enter_context(command(log, **options)))

        start()
        start()
        for _ in range(KILLS):
            server = running.popleft()
            wait_until_busy(ledger, server.process.pid)
            # From here on nothing of it is sure to run, so nobody is taken for one too many.
            killed_at[server.process.pid] = time.monotonic()
            server.process.kill()
            server.process.wait(10)
            start()
        wait_until(lambda: not BlockedExecution.objects.exists(), seconds=60)
        ledger.wait_until_done(seconds=60)
        assert [server.stop() for server in running] == [0, 0]

    books = ledger.close()
    assert books.wrong == {}, books
    assert books.failed
    assert at_once(ledger, killed_at) == LIMIT
    assert not SemaphoreHolder.objects.exists()
    assert set(Semaphore.objects.values_list("value", flat=True)) == {LIMIT}


def wait_until_busy(ledger, pid):
    """Wait until a process has lived for a while and is in the middle of a job; there is always one."""
    at = time.monotonic() + random.uniform(0.1, 0.5)

    def is_time():
        if not BlockedExecution.objects.exists():
            enqueue(ledger)
        return time.monotonic() > at and ledger.running(pid)

    wait_until(is_time, seconds=30, what=f"process {pid} is in the middle of a job")


def enqueue(ledger):
    """So many more jobs, numbered and of every key in turn."""
    first = len(ledger.enqueued)
    numbers = range(first, first + JOBS)
    task_backends["default"].enqueue_all(
        [
            (limited_tasks.record, (str(ledger.path), n, n % KEYS, 0.01 + 0.02 * (n % 5)), {})
            for n in numbers
        ]
    )
    ledger.enqueued.update(numbers)


def at_once(ledger, killed_at):
    """The most jobs of one key that ran at the same time, whichever key that was."""
    ended = ledger.ended()
    changes = defaultdict(list)
    for number, [line] in ledger.began().items():
        # What a killed process ran ended with it; it was still alive right before.
        end = ended[number][0].at if number in ended else killed_at[line.pid]
        changes[number % KEYS] += [(line.at, 1), (end, -1)]
    return max(most(moments) for moments in changes.values())


def most(changes):
    """The highest count that changes at given times make."""
    highest = count = 0
    # At the same moment ends come first.
    for _, change in sorted(changes):
        count += change
        highest = max(highest, count)
    return highest
