"""A whole node is killed and starts again: within two seconds nothing of what it left is open."""

import pytest

from dj_queue.models import ClaimedExecution, FailedExecution, Process
from tests.contrib.standalone import command
from tests.faults.nodes import gunicorn, kill_all, wait_until_ready
from tests.waiting import wait_until

SECONDS_TO_RESOLVE = 2


def fork(log, **options):
    return command(log, "--mode", "fork", **options)


def two_workers(log, **options):
    return gunicorn(log, "--workers=2", **options)


@pytest.mark.parametrize(
    ("node", "workers"),
    [
        (fork, {"threads": 3, "processes": 2}),
        (two_workers, {"threads": 3}),
    ],
    ids=["fork mode", "gunicorn"],
)
def test_what_a_killed_node_has_left_is_settled_when_it_is_up_again(
    tmp_path, ledger, node, workers
):
    ledger.enqueue(60)
    with node(tmp_path / "first", workers=[workers]) as first:
        killed = wait_until_ready(2)
        # In the middle of one, and not with their first, for which each process makes its ledger.
        wait_until(
            lambda: all(ledger.running(pid) and ledger.ran(pid) for pid in killed),
            what="each process runs jobs",
        )
        kill_all(first)
    interrupted = ledger.running()
    orphans = set(ClaimedExecution.objects.values_list("token", flat=True))
    assert interrupted
    assert orphans

    with node(tmp_path / "second", workers=[workers]) as second:
        # Ready: its first process runs jobs.
        wait_until(lambda: Process.objects.filter(kind="Worker").exclude(pid__in=killed).exists())
        wait_until(
            lambda: (
                not ClaimedExecution.objects.filter(token__in=orphans).exists()
                and not Process.objects.filter(pid__in=killed).exists()
            ),
            seconds=SECONDS_TO_RESOLVE,
            what=f"nothing is left of {killed}",
        )
        ledger.wait_until_done()
        assert second.stop() == 0

    books = ledger.close()
    assert books.wrong == {}
    assert interrupted <= books.failed
    assert set(FailedExecution.objects.values_list("exception_class", flat=True)) == {
        "dj_queue.exceptions.ProcessExitError"
    }
    assert not Process.objects.exists()
