"""Deploys under load, one after the other: no job is lost, fails or runs twice."""

import signal
from contextlib import ExitStack
from urllib.error import URLError

import pytest

from dj_queue.models import Process, ReadyExecution
from tests.contrib.servers import uvicorn
from tests.contrib.standalone import command
from tests.faults.ledger import FULL
from tests.faults.nodes import gunicorn, wait_until_ready
from tests.waiting import wait_until

TIMES = 10 if FULL else 3
LOAD = 60
"""Jobs that are ready when a process is told to end; more than it can run until then."""

OPTIONS = {"workers": [{"threads": 3, "async_concurrency": 5}], "shutdown_timeout": 10}


def keep_busy(ledger, *pids):
    """Enqueue jobs, and wait until each of the processes is in the middle of some."""
    ledger.enqueue(max(0, LOAD - ReadyExecution.objects.count()))
    wait_until(lambda: all(ledger.running(pid) for pid in pids), what=f"{pids} run jobs")


def enqueue_through(server, ledger):
    """Enqueue in the server itself, where jobs start in a free thread at once."""
    number = 2_000_000 + len(ledger.enqueued)
    try:
        server.enqueue("tests.site.fault_tasks.record", str(ledger.path), number, 0.05)
    except (URLError, ConnectionError, TimeoutError):
        return  # It was closing; whoever asked knows that nothing is promised.
    ledger.enqueued.add(number)


def assert_nothing_happened(ledger):
    books = ledger.close()
    print(f"{len(ledger.began())} jobs, failed {len(books.failed)}, {books.wrong}")
    assert books.wrong == {}
    assert books.failed == set()
    assert not Process.objects.exists()


@pytest.mark.parametrize("kind", ["stand-alone", "uvicorn"])
def test_a_new_process_takes_over_from_the_old_one(tmp_path, ledger, kind):
    start = command if kind == "stand-alone" else uvicorn
    with ExitStack() as stack:
        old = stack.enter_context(start(tmp_path / "log-0", **OPTIONS))
        wait_until_ready(1)
        for number in range(TIMES):
            new = stack.enter_context(start(tmp_path / f"log-{number + 1}", **OPTIONS))
            wait_until_ready(1, other_than={old.process.pid})
            keep_busy(ledger, old.process.pid, new.process.pid)
            if kind == "uvicorn":
                enqueue_through(old, ledger)

            old.process.send_signal(signal.SIGTERM)
            if kind == "uvicorn":
                enqueue_through(new, ledger)
            assert old.process.wait(20) in (0, -signal.SIGTERM), old.output
            old = new
        ledger.wait_until_done(seconds=60)
        old.stop()

    assert_nothing_happened(ledger)


def test_gunicorn_reloads_its_two_workers(tmp_path, ledger):
    arguments = ["--workers=2", "--graceful-timeout=20"]
    with gunicorn(tmp_path / "log", *arguments, **OPTIONS) as server:
        pids = wait_until_ready(2)
        for _ in range(TIMES):
            keep_busy(ledger, *pids)
            enqueue_through(server, ledger)

            server.process.send_signal(signal.SIGHUP)
            enqueue_through(server, ledger)
            wait_until(lambda old=pids: not set(pids_of_workers()) & old, seconds=30)
            pids = wait_until_ready(2)
        ledger.wait_until_done(seconds=60)
        assert server.stop() == 0, server.output

    assert_nothing_happened(ledger)


def pids_of_workers():
    return Process.objects.values_list("pid", flat=True)
