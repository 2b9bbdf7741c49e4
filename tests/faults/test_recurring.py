"""A task of each second on three nodes; one is killed every two seconds. No time is lost or doubled."""

import time
from contextlib import ExitStack
from datetime import timedelta

from dj_queue.models import Job, Leadership, RecurringExecution
from dj_queue.store.shared import from_column
from tests.contrib.standalone import command
from tests.faults.ledger import FULL
from tests.waiting import wait_until

KILLS = 30 if FULL else 3
SECONDS_BETWEEN = 2.0

OPTIONS = {
    "workers": [],
    "recurring": {
        "tick": {
            "task_path": "tests.site.tasks.noop",
            "schedule": "* * * * * *",
            "catch_up": "all",
        }
    },
}


def leading_pid():
    row = Leadership.objects.filter(role="scheduler").first()
    return None if row is None else row.pid


def fired():
    rows = RecurringExecution.objects.order_by("run_at").values_list("run_at", flat=True)
    return [from_column(moment) for moment in rows]


def test_every_second_is_fired_once_whoever_is_killed(tmp_path):
    with ExitStack() as stack:
        nodes = []

        def start():
            log = tmp_path / f"log-{len(nodes)}"
            nodes.append(stack.enter_context(command(log, **OPTIONS)))

        for _ in range(3):
            start()
        wait_until(lambda: len(fired()) >= 2, seconds=30, what="somebody fires")
        for _ in range(KILLS):
            at = time.monotonic() + SECONDS_BETWEEN
            wait_until(lambda at=at: time.monotonic() >= at)
            # The leader, if it lives; that is what hurts.
            living = [node for node in nodes if node.process.poll() is None]
            pid = leading_pid()
            victim = next((node for node in living if node.process.pid == pid), living[0])
            victim.process.kill()
            victim.process.wait(10)
            start()
        count = len(fired())
        wait_until(lambda: len(fired()) >= count + 2, seconds=30, what="it goes on")
        for node in nodes:
            if node.process.poll() is None:
                assert node.stop() == 0

    times = fired()
    assert times == [times[0] + timedelta(seconds=n) for n in range(len(times))]
    assert Job.objects.count() == len(times)
    assert not RecurringExecution.objects.filter(job__isnull=True).exists()
    # Something was done to them.
    assert Leadership.objects.get(role="scheduler").term > 1
