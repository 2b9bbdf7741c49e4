"""A web process that has nothing to do and does not lead leaves the database alone."""

import re
import time
from datetime import datetime

from dj_queue.models import Leadership
from dj_queue.runtime.polling import SAFETY_SECONDS
from tests.contrib.servers import uvicorn
from tests.contrib.standalone import command
from tests.faults.ledger import FULL
from tests.faults.nodes import wait_until_ready
from tests.waiting import wait_until

SECONDS = 30 if FULL else 10
QUIET_SECONDS = 2
"""How long nothing is asked before the time begins that counts: then the process is up."""

LINE = re.compile(
    r"^(?P<at>[\d:. -]+) UTC follower\|LOG: +(statement|execute [^:]*): (?P<text>.*(?:\n\t.*)*)$",
    re.M,
)


def statements(server):
    """When the follower asked for something and what, oldest first."""
    return [
        (datetime.fromisoformat(found["at"]), found["text"]) for found in LINE.finditer(server.log)
    ]


def test_idle_follower_asks_only_at_its_safety_poll(tmp_path, server, monkeypatch, ledger):
    server.configure(
        log_statement="all", log_line_prefix="%m %a|", log_timezone="UTC", log_destination="stderr"
    )
    with command(tmp_path / "leader") as leader:
        wait_until(lambda: Leadership.objects.filter(pid=leader.process.pid).exists())
        with monkeypatch.context() as patch:
            patch.setenv("PGAPPNAME", "follower")
            follower = uvicorn(tmp_path / "follower")
            with follower as web:
                wait_until_ready(1, other_than={leader.process.pid})
                wait_until_quiet(server)
                before = len(statements(server))

                until = time.monotonic() + SECONDS
                wait_until(lambda: time.monotonic() >= until, seconds=SECONDS + 5)

                asked = statements(server)[before:]
                assert before > 0
                print(SECONDS, [" ".join(text.split())[:80] for _, text in asked])
                # It works: a job that another process enqueues reaches it at once.
                leader.stop()
                [number] = ledger.enqueue(1, 0.0)
                wait_until(lambda: number in ledger.ended(), seconds=5)
                assert ledger.ended()[number][0].pid == web.process.pid

    assert all("dj_queue_ready_executions" in text for _, text in asked), asked
    # Each is a round of its own, and the next comes no sooner than 0.7 of the time.
    assert len(asked) <= 1 + SECONDS / (0.7 * SAFETY_SECONDS)


def wait_until_quiet(server):
    """Wait until the follower has asked for nothing for a while."""
    last = [0, time.monotonic()]

    def is_quiet():
        count = len(statements(server))
        if count != last[0]:
            last[:] = count, time.monotonic()
        return count and time.monotonic() - last[1] > QUIET_SECONDS

    wait_until(is_quiet, seconds=30, what="the follower is up")
