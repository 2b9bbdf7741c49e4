"""Workers that are killed all the time: nothing is lost, nothing runs twice, nothing fails unbegun."""

from dj_queue.models import ReadyExecution
from tests.contrib.standalone import command
from tests.faults.ledger import FULL
from tests.faults.nodes import working
from tests.waiting import wait_until

JOBS = 5000 if FULL else 400
KILLS = 36 if FULL else 4
"""How many there are at least; in full size they go on while there is work."""
KILLS_WITH_CHILDREN = 24 if FULL else 2
KILLS_OF_CHILDREN = 24 if FULL else 3
"""The parent waits twice as long before each restart of a child that did not live for long."""


def test_processes_that_are_killed_and_started_anew(ledger, killer):
    def goes_on():
        return killer.kills < KILLS or (FULL and ReadyExecution.objects.count() > JOBS // 10)

    # In full size they last through dozens of kills.
    ledger.stretch = 4 if FULL else 1
    ledger.enqueue(JOBS)

    killer.kill_and_start_anew(goes_on)

    killer.assert_only_what_was_interrupted_failed()


def test_processes_whose_jobs_run_in_children_of_theirs(ledger, killer):
    killer.options["workers"] = [{"threads": 2, "executor": "process"}]
    ledger.enqueue(100)

    killer.kill_and_start_anew(lambda: killer.kills < KILLS_WITH_CHILDREN)

    killer.assert_only_what_was_interrupted_failed()


def test_children_that_are_killed_and_replaced_by_their_parent(tmp_path, ledger, killer):
    killer.options["workers"][0]["processes"] = 2
    ledger.enqueue(150)
    with command(tmp_path / "log", "--mode", "fork", **killer.options) as parent:
        killed = set()
        while killer.kills < KILLS_OF_CHILDREN:
            pid = wait_until(
                lambda: next(iter(working() - killed), None), seconds=30, what="a child"
            )
            killer.kill(pid)
            killed.add(pid)
        ledger.wait_until_done(seconds=60)
        assert parent.stop() == 0

    killer.assert_only_what_was_interrupted_failed()
