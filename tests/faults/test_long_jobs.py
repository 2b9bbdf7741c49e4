"""Jobs that last longer than a deploy waits: the process ends in time all the same, and says what it left."""

import time

import pytest

from dj_queue.models import ClaimedExecution, FailedExecution, Process
from tests.contrib.servers import uvicorn
from tests.contrib.standalone import command
from tests.faults.nodes import gunicorn, wait_until_ready
from tests.waiting import PATIENCE, wait_until

WINDOW = 1.5
# The interpreter has to come to its end, on a machine that has other things to do.
SLACK = 4


@pytest.mark.parametrize("node", [command, uvicorn, gunicorn], ids=lambda node: node.__name__)
def test_the_process_ends_in_time(tmp_path, ledger, node):
    short, long = ledger.enqueue(1, 0.0), ledger.enqueue(3, 60.0)
    waiting = ledger.enqueue(10, 0.0)
    options = {"workers": [{"threads": 3}], "shutdown_timeout": WINDOW}
    with node(tmp_path / "log", **options) as server:
        wait_until_ready(1)
        wait_until(lambda: ledger.running() == set(long), what="long jobs hold all threads")
        started = time.monotonic()

        server.stop()

        assert WINDOW - 0.5 <= time.monotonic() - started < WINDOW + SLACK * PATIENCE

    assert set(ledger.began()) == {*short, *long}
    assert not set(ledger.began()) & set(waiting)
    assert not ClaimedExecution.objects.exists()
    assert not Process.objects.exists()
    assert FailedExecution.objects.count() == 3
    with command(tmp_path / "successor") as successor:
        ledger.wait_until_done()
        successor.stop()
    books = ledger.close()
    assert books.wrong == {}
    assert books.failed == set(long)
