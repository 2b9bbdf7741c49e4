"""The server goes down under load and comes back: no process ends, and what jobs did meanwhile is kept."""

import time
from contextlib import ExitStack

from dj_queue.models import Job, Process
from tests.contrib.servers import started, uvicorn
from tests.contrib.standalone import COMMAND, command
from tests.faults.ledger import FULL
from tests.faults.nodes import wait_until_ready
from tests.waiting import wait_until

DOWN_SECONDS = 5 if FULL else 2
OPTIONS = {"workers": [{"threads": 3, "async_concurrency": 5}], "shutdown_timeout": 10}


def test_jobs_that_end_while_the_server_is_down_are_recorded_when_it_is_back(
    tmp_path, ledger, server
):
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(start(tmp_path / start.__name__, **OPTIONS))
            for start in (command, uvicorn)
        ]
        wait_until_ready(2)
        for stop in (server.stop, server.crash):
            # Every thread has one, and there is more to do.
            long = ledger.enqueue(6, 1.0)
            ledger.enqueue(120, need_database=False)
            wait_until(lambda: all(ledger.running(node.process.pid) for node in nodes))
            wait_until(lambda long=long: set(long) <= ledger.running(), what="the long ones run")

            stop()
            down_at = time.monotonic()
            wait_until(lambda at=down_at: time.monotonic() >= at + DOWN_SECONDS)
            wait_until(lambda: not ledger.running(), what="what ran has ended")
            server.start()

            wait_until(
                lambda long=long: _finished(ledger) >= set(long),
                seconds=10,
                what="jobs that ended meanwhile are recorded",
            )
        ledger.wait_until_done(seconds=60)

        assert [node.process.poll() for node in nodes] == [None, None]
        for node in nodes:
            node.stop()
    books = ledger.close()
    print(f"{len(ledger.began())} jobs, failed {len(books.failed)}, {books.wrong}")
    assert books.wrong == {}
    assert books.failed == set()
    assert not Process.objects.exists()


def _finished(ledger):
    jobs = Job.objects.finished().values_list("payload", flat=True)
    return {payload["args"][1] for payload in jobs}


def test_processes_that_start_before_the_server_work_when_it_is_there(tmp_path, ledger, server):
    server.stop()
    with (
        started(COMMAND, tmp_path / "command", ready="does not answer", **OPTIONS) as first,
        uvicorn(tmp_path / "uvicorn", **OPTIONS) as second,
    ):
        wait_until(lambda: "registrar" in second.output, what=second.output)
        assert first.process.poll() is None
        assert second.process.poll() is None

        server.start()

        pids = wait_until_ready(2)
        ledger.enqueue(60)
        ledger.wait_until_done()
        assert pids == {first.process.pid, second.process.pid}
    assert ledger.close().wrong == {}
