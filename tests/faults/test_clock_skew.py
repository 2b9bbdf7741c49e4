"""A node whose clock is 90 s off: jobs are due by the database's clock, and nobody counts as lost."""

import os
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from dj_queue.models import FailedExecution, Leadership, Process
from tests.contrib.standalone import command, supervisor_pids
from tests.faults.ledger import FULL
from tests.site import fault_tasks
from tests.waiting import wait_until

LIBRARY = next(
    (
        str(path)
        for folder in ("/usr/lib", "/usr/local/lib", "/opt/homebrew/lib")
        for path in Path(folder).glob("**/faketime/libfaketimeMT.so.1")
    ),
    None,
)

pytestmark = pytest.mark.skipif(
    LIBRARY is None and "CI" not in os.environ, reason="the library libfaketime is not installed"
)

LATE = 2.0
"""Seconds after which a job that is due has to have begun; the safety poll comes after 10 and more."""

# Short, so that a clock that is 90 s off would show at once.
OPTIONS = {"process_heartbeat_interval": 0.5, "process_alive_threshold": 5}
SECONDS = 20 if FULL else 6
"""How long the nodes look at each other, more than the threshold above."""


OFFS = [(90, 0, -90), (-90, 0, 90)] if FULL else [(90, 0, -90)]
"""Seconds by which the clocks of nodes are off; the first one leads, and the others would like to."""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a node with its clock so many seconds off, that has a queue of its own beside the others'."""
    with ExitStack() as stack:

        def start_one(off):
            workers = [{"queues": [queue_of(off), "default"]}]
            with monkeypatch.context() as patch:
                if off:
                    patch.setenv("LD_PRELOAD", LIBRARY)
                    patch.setenv("FAKETIME", f"{off:+d}s")
                    # A wrong clock is wrong about the time of day and not about how time goes by.
                    patch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                log = tmp_path / queue_of(off)
                return stack.enter_context(command(log, workers=workers, **OPTIONS))

        yield start_one


def queue_of(off):
    return f"off-by-{off}"


@pytest.mark.parametrize("offs", OFFS, ids=str)
def test_jobs_run_when_they_are_due_and_nobody_counts_as_lost(start, ledger, offs):
    nodes = {offs[0]: start(offs[0])}
    leader = nodes[offs[0]].process.pid
    wait_until(lambda: Leadership.objects.filter(role="dispatcher", pid=leader).exists())
    nodes |= {off: start(off) for off in offs[1:]}
    wait_until(lambda: supervisor_pids() == {node.process.pid for node in nodes.values()})
    registered = set(Process.objects.values_list("id", flat=True))
    clock, due = Clock(), {}

    for number in range(20):
        due[number] = 1.0 + 0.1 * number
        record = fault_tasks.record.using(run_after=clock.moment(due[number]))
        record.enqueue(str(ledger.path), number)
    # And by each of the nodes, of which one takes them for due and one for far away.
    for number, off in enumerate(offs * 5, start=100):
        due[number] = 3.0 + 0.02 * (number - 100)
        moment = clock.moment(due[number]).isoformat()
        enqueue = fault_tasks.enqueue_at.using(queue_name=queue_of(off))
        enqueue.enqueue(str(ledger.path), number + 100, number, moment)
    far = fault_tasks.record.using(run_after=clock.moment(80)).enqueue(str(ledger.path), 999)
    wait_until(lambda: clock.seconds >= SECONDS and set(due) <= set(ledger.began()), seconds=40)

    assert {number: len(lines) for number, lines in ledger.began().items() if number in due} == (
        dict.fromkeys(due, 1)
    )
    for number, seconds in due.items():
        [line] = ledger.began()[number]
        assert 0 <= line.at - clock.started - seconds < LATE, number
    assert 999 not in ledger.began()
    far.refresh()
    assert far.status == "READY"
    # The same rows: who is taken for dead and lives registers anew.
    assert set(Process.objects.values_list("id", flat=True)) == registered
    assert Leadership.objects.get(role="dispatcher").term == 1
    for off, node in nodes.items():
        assert_clock_is_off(off)
        assert "was lost" not in node.output
    assert [node.stop() for node in nodes.values()] == [0, 0, 0]
    assert (
        list(FailedExecution.objects.values_list("exception_class", "message", "traceback")) == []
    )


def assert_clock_is_off(off):
    """Or else there was nothing to see."""
    result = fault_tasks.time_of_day.using(queue_name=queue_of(off)).enqueue()
    wait_until(lambda: result.refresh() or result.is_finished)
    assert abs(result.return_value - off - time.time()) < 20


class Clock:
    """The time of this machine, which is the server's, beside its monotonic clock."""

    def __init__(self):
        self.started = time.monotonic()
        self._moment = timezone.now()

    @property
    def seconds(self):
        return time.monotonic() - self.started

    def moment(self, seconds):
        return self._moment + timedelta(seconds=seconds)
