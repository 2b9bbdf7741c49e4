"""Why a job does not run: each gate, found closed, and named with what opens it."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from dj_queue.api import explain
from dj_queue.ids import new_job_id
from dj_queue.models import (
    BlockedExecution,
    ClaimedExecution,
    FailedExecution,
    Job,
    Leadership,
    Pause,
    Process,
    ReadyExecution,
    ScheduledExecution,
    Semaphore,
    SemaphoreHolder,
)
from dj_queue.reads import explain as module
from dj_queue.reads import ready_gates
from dj_queue.states import Executor
from tests.runtime.conftest import failures, finished, make_runtime  # noqa: F401
from tests.site import runtime_tasks, tasks
from tests.waiting import wait_until


def make_process(kind="Worker", *, silent=0, **metadata):
    given = {"queues": "*", "executor": "thread", "threads": 1, "async_concurrency": 1, **metadata}
    seen = timezone.now() - timedelta(seconds=silent)
    return Process.objects.create(
        name=f"{kind}-{new_job_id()}",
        kind=kind,
        pid=1,
        hostname="host",
        metadata=given,
        last_heartbeat_at=seen,
    )


@pytest.fixture
def ready():
    return tasks.add.enqueue(1, 1)


@pytest.fixture
def scheduled():
    def make(seconds):
        result = tasks.add.using(run_after=timezone.now() + timedelta(hours=1)).enqueue(1, 1)
        ScheduledExecution.objects.update(scheduled_at=timezone.now() + timedelta(seconds=seconds))
        return result

    return make


@pytest.fixture
def blocked(ready):
    ReadyExecution.objects.all().delete()
    BlockedExecution.objects.create(
        job_id=ready.id, concurrency_key="account/7", expires_at=timezone.now()
    )
    Semaphore.objects.create(key="account/7", value=0, limit=2, expires_at=timezone.now())
    return ready


def test_a_job_that_does_not_exist():
    assert explain(new_job_id()).code == "unknown"


def test_what_is_no_id_is_refused():
    with pytest.raises(ValueError, match="found 'seven'"):
        explain("seven")


def test_a_job_of_a_backend_that_is_not_configured_here(ready):
    Job.objects.update(backend_alias="elsewhere")

    found = explain(ready)

    assert found.code == "unknown_backend"
    assert "'elsewhere'" in found.sentence


def test_a_job_that_has_ended_well(ready):
    Job.objects.update(finished_at=timezone.now())

    assert (explain(ready).code, explain(ready).state) == ("finished", "finished")


def test_a_job_that_has_failed(ready):
    ReadyExecution.objects.all().delete()
    row = FailedExecution.objects.create(job_id=ready.id, exception_class="builtins.ValueError")

    found = explain(ready)
    assert found.code == "failed"
    assert "builtins.ValueError" in found.sentence

    row.retry_at = timezone.now() + timedelta(hours=1)
    row.save()
    assert explain(ready).code == "retry_later"


def test_a_job_in_no_state(ready):
    ReadyExecution.objects.all().delete()

    assert explain(ready).code == "no_state"


def test_a_job_whose_time_has_not_come(scheduled):
    found = explain(scheduled(600))

    assert found.code == "scheduled"
    assert "by the database's clock" in found.sentence


def test_a_job_whose_time_has_come_by_the_clock_of_this_machine_only(scheduled, monkeypatch):
    class Ahead(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(UTC) + timedelta(hours=1)

    result = scheduled(600)
    monkeypatch.setattr(module, "datetime", Ahead)

    found = explain(result)

    assert found.code == "clock_differs"


def test_a_job_that_is_due_and_nobody_dispatches(scheduled):
    assert explain(scheduled(-5)).code == "no_leader"


def test_a_job_that_is_due_and_the_leader_is_stuck(scheduled):
    make_process("Dispatcher")
    long_ago = timezone.now() - timedelta(minutes=5)
    Leadership.objects.create(
        role="dispatcher", process_name="d", pid=1, hostname="h", progress_at=long_ago
    )

    assert explain(scheduled(-5)).code == "leader_stuck"


def test_a_job_that_is_due_now(scheduled):
    make_process("Dispatcher")

    assert explain(scheduled(-1)).code == "due"
    assert explain(scheduled(-90)).code == "dispatcher_behind"


def test_a_job_that_waits_for_a_slot_names_who_has_it(blocked):
    holder, by_hand = tasks.add.enqueue(1, 1), None
    for job_id in (holder.id, by_hand):
        SemaphoreHolder.objects.create(key="account/7", job_id=job_id)

    found = explain(blocked)

    assert found.code == "blocked"
    assert "'account/7': 2 of 2 are taken" in found.sentence
    assert holder.id in found.sentence
    assert found.as_dict()["details"]["held_by"] == [holder.id]


def test_a_job_that_waits_though_a_slot_is_free(blocked):
    SemaphoreHolder.objects.create(key="account/7")

    assert explain(blocked).code == "no_leader"
    make_process("Dispatcher")
    assert explain(blocked).code == "slot_free"


def test_a_job_in_a_paused_queue(ready):
    make_process()
    Pause.objects.create(queue_name="default")

    assert explain(ready).code == "paused"


def test_a_job_without_a_living_worker(ready):
    make_process(silent=3600)
    make_process("Dispatcher")

    found = explain(ready)

    assert found.code == "no_worker"
    assert "though 1 other part of a process does" in found.sentence


def test_a_job_in_a_queue_that_nobody_serves(ready):
    make_process(queues="mail,b*")

    found = explain(ready)

    assert found.code == "queue_not_served"
    assert found.as_dict()["details"]["served"] == ["mail,b*"]


def test_a_job_that_no_worker_of_its_queue_can_run(ready):
    make_process()
    ReadyExecution.objects.update(executor=Executor.PROCESS)

    assert explain(ready).code == "executor_not_served"


def test_a_job_whose_task_is_not_there(ready):
    make_process()
    Job.objects.update(task_path="tests.site.tasks.gone")

    found = explain(ready)

    assert found.code == "not_importable"
    assert "tests.site.tasks.gone" in found.sentence


def test_a_job_in_its_turn_has_a_place(ready):
    make_process()
    tasks.add.using(priority=5).enqueue(1, 1)
    last = tasks.add.enqueue(1, 1)
    tasks.add.using(priority=5, queue_name="other").enqueue(1, 1)

    found = explain(last)

    assert found.code == "in_turn"
    assert found.as_dict()["details"] == {"ahead": 2, "room": 1, "taken": 0}
    assert "2 jobs of its queue are before it" in found.sentence


def test_a_place_is_counted_up_to_a_bound(ready, monkeypatch):
    monkeypatch.setattr(ready_gates, "AHEAD", 2)
    make_process()
    for _ in range(4):
        last = tasks.add.enqueue(1, 1)

    assert "More than 2 jobs are before it" in explain(last).sentence


def test_a_job_whose_workers_are_busy(ready):
    worker = make_process(threads=2)
    running = [new_job_id(), new_job_id()]
    ClaimedExecution.objects.bulk_create(
        ClaimedExecution(job_id=job_id, token=1, process=worker) for job_id in running
    )

    found = explain(ready)

    assert found.code == "workers_busy"
    assert found.as_dict()["details"]["oldest"] == [str(job_id) for job_id in running]


def test_a_job_that_runs_and_one_whose_process_is_gone(ready):
    worker = make_process()
    ReadyExecution.objects.all().delete()
    ClaimedExecution.objects.create(job_id=ready.id, token=1, process=worker)

    assert explain(ready).code == "running"

    Process.objects.update(last_heartbeat_at=F("last_heartbeat_at") - timedelta(hours=1))
    assert explain(ready).code == "worker_lost"
    Process.objects.all().delete()
    assert "is not registered" in explain(ready).sentence


def test_a_real_runtime_agrees(make_runtime, finished):  # noqa: F811
    make_runtime(workers=[{"queues": ["default"], "threads": 1}])
    first = runtime_tasks.wait_at.enqueue("first")
    wait_until(lambda: explain(first).code == "running")
    waits = runtime_tasks.wait_at.enqueue("first")
    elsewhere = tasks.add.using(queue_name="elsewhere").enqueue(1, 1)

    assert explain(waits).code == "workers_busy"
    assert explain(elsewhere).code == "queue_not_served"
    runtime_tasks.gate("first").set()
    finished(first, waits)
    assert explain(first).code == "finished"


def test_it_is_said_in_the_language_that_is_active_and_coded_the_same_in_all(ready):
    with translation.override("de"):
        found = explain(ready)

    assert found.sentence == "Kein Worker des Backends 'default' lebt."
    assert found.remedy.startswith("Starten Sie einen Prozess")
    assert found.code == explain(ready).code == "no_worker"


def test_the_number_of_questions_does_not_grow(ready):
    def questions(result):
        with CaptureQueriesContext(connection) as seen:
            explain(result)
        return len(seen)

    make_process()
    few = questions(ready)
    for _ in range(10):
        last = tasks.add.enqueue(1, 1)

    assert questions(last) == few
    assert few <= 12


def command(*arguments):
    output = StringIO()
    call_command("dj_queue_explain", *arguments, stdout=output)
    return output.getvalue()


def test_the_command_says_it_in_words_and_as_json(ready):
    assert "No worker of backend 'default' lives" in command(ready.id)

    found = json.loads(command(ready.id, "--json"))

    assert (found["code"], found["state"], found["queue_name"]) == ("no_worker", "ready", "default")


def test_the_command_refuses_what_it_does_not_know():
    with pytest.raises(CommandError, match="found 'seven'"):
        command("seven")
    with pytest.raises(CommandError, match="TASKS\\['other'\\] does not exist"):
        command(str(new_job_id()), "--backend", "other")
