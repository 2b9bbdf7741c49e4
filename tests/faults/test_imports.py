"""Modules that end the process that imports them: their jobs fail, and no second process ends."""

from datetime import timedelta

import pytest
from django.db.models import F

from dj_queue.models import FailedExecution, Job, Process
from dj_queue.selectors import EVERYTHING
from dj_queue.store import store_for
from dj_queue.store.records import Claimer, ProcessRecord, Room
from tests.contrib.standalone import command
from tests.site import deadly_at_import, tasks
from tests.waiting import wait_until

NEVER = (deadly_at_import.never, (), {})
NOOP = (tasks.noop, (), {})


@pytest.fixture(autouse=True)
def deadly(monkeypatch):
    """For the processes that are started; this one has imported it."""
    monkeypatch.setenv("DJ_QUEUE_TEST_DEADLY_IMPORT", "1")


def enqueue(*calls):
    """At once, so that one claim has them all."""
    deadly_at_import.never.get_backend().enqueue_all(calls)


def assert_only_those_failed(text):
    failures = FailedExecution.objects.select_related("job")
    done = Job.objects.finished()
    assert {each.exception_class for each in failures} == {"dj_queue.exceptions.ProcessExitError"}
    assert {text in each.message for each in failures} == {True}
    assert {each.job.task_path for each in failures} == {NEVER[0].module_path}
    assert set(done.values_list("task_path", flat=True)) <= {tasks.noop.module_path}


def wait_for(*, failed, finished):
    wait_until(
        lambda: (
            (FailedExecution.objects.count(), Job.objects.finished().count()) == (failed, finished)
        ),
        seconds=30,
        what=f"{failed} failed and {finished} finished",
    )


def test_jobs_of_a_worker_with_threads(tmp_path):
    workers = [{"threads": 6}]
    with command(tmp_path / "first", workers=workers) as first:
        enqueue(NOOP, NEVER, NOOP, NEVER, NOOP)
        assert first.wait() == 7

    with command(tmp_path / "second", workers=workers) as second:
        wait_for(failed=2, finished=3)
        assert second.stop() == 0

    assert_only_those_failed("ended; it was importing the module")


def test_jobs_of_a_worker_with_children(tmp_path):
    workers = [{"threads": 1, "executor": "process"}]
    with command(tmp_path / "log", workers=workers) as server:
        enqueue(NEVER, NOOP)
        wait_for(failed=1, finished=1)
        assert server.stop() == 0

    assert_only_those_failed(" while it imported the module")


def test_jobs_of_a_machine_that_is_gone_with_its_journal(tmp_path):
    enqueue(NEVER)
    with store_for("default").open_session("default") as session:
        ids = session.register([ProcessRecord("gone", "Supervisor", 1, "elsewhere")])
        claimer = Claimer("default", EVERYTHING, ids["gone"], "gone")
        assert len(session.exchange(claimer, (), Room(1, 0)).claimed) == 1
    Process.objects.update(last_heartbeat_at=F("last_heartbeat_at") - timedelta(hours=1))
    options = {"process_heartbeat_interval": 0.2, "process_alive_threshold": 1}

    with command(tmp_path / "first", **options) as first:
        # It asks the task whether it may be tried again.
        assert first.wait() == 7
    with command(tmp_path / "second", **options) as second:
        wait_for(failed=1, finished=0)
        assert second.stop() == 0

    assert_only_those_failed("ended; it was importing the module")
