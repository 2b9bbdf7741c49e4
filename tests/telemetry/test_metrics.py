"""Counters, histograms and gauges say what was enqueued, claimed and run, and what is in the queues."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.tasks import task_backends
from django.utils import timezone

from dj_queue import events
from dj_queue.api import retry_failed_job
from dj_queue.models import Process
from dj_queue.telemetry import gauges, instruments, providers
from tests.site import runtime_tasks, tasks, telemetry_tasks
from tests.waiting import wait_until

WHERE = "tests.site.telemetry_tasks.where"
FAIL = "tests.site.telemetry_tasks.fail"


@pytest.fixture(autouse=True)
def forgotten():
    """No leader and no old answer from another test."""
    yield
    gauges._leads.clear()
    gauges._snapshots.clear()
    gauges._metered.clear()
    instruments._instruments_of.cache_clear()


def leads_and_is_registered():
    """Who leads has perhaps no row yet."""
    return "default" in gauges._leads and Process.objects.exists()


def test_what_is_enqueued_is_counted_by_queue_and_task(measured):
    telemetry_tasks.where.using(queue_name="mail").enqueue()
    task_backends["default"].enqueue_all([(telemetry_tasks.where, (), {})] * 3)

    sent = "messaging.client.sent.messages"
    assert measured.total(sent, messaging__destination__name="mail") == 1
    assert (
        measured.total(sent, messaging__destination__name="default", dj_queue__task__name=WHERE)
        == 3
    )
    took = measured.points("messaging.client.operation.duration")
    assert sum(point.count for point in took) == 2
    assert all(0 < point.sum < 60 for point in took)
    assert not [point for point in took if "dj_queue.task.name" in point.attributes]


def test_jobs_and_attempts_are_counted_and_timed(measured, make_runtime, finished):
    make_runtime()
    finished(telemetry_tasks.where.enqueue(), telemetry_tasks.fail.enqueue())

    duration = "messaging.process.duration"
    wait_until(lambda: measured.total(duration) == 2)
    # A job that is given back because no thread was free in time is claimed twice.
    assert measured.total("messaging.client.consumed.messages") >= 2
    assert (
        measured.total(duration, dj_queue__task__name=WHERE, dj_queue__job__outcome="succeeded")
        == 1
    )
    assert measured.total(duration, dj_queue__task__name=FAIL, error__type="LookupError") == 1
    assert measured.total("dj_queue.job.wait.duration") == 2
    [point] = measured.points("dj_queue.job.active")
    assert point.value == 0
    bounds = measured.points(duration)[0].explicit_bounds
    assert (bounds[0], bounds[-1]) == (0.005, 3600)


def test_a_job_that_runs_is_active(measured, make_runtime, finished):
    make_runtime()
    result = runtime_tasks.wait_at.enqueue("active")
    assert runtime_tasks.gate("active began").wait(15)

    assert measured.total("dj_queue.job.active", messaging__destination__name="default") == 1
    runtime_tasks.gate("active").set()
    finished(result)
    wait_until(lambda: measured.total("dj_queue.job.active") == 0)


def test_retries_are_counted(measured, make_runtime, finished):
    runtime = make_runtime()
    result = telemetry_tasks.fail.enqueue()
    finished(result)
    runtime.stop(5)

    retry_failed_job(result.id)

    assert measured.total("dj_queue.job.retries", messaging__destination__name="default") == 1


def test_what_lost_processes_held_is_counted_by_what_became_of_it(measured):
    events.emit(events.ProcessRecovered("default", "worker-1@x", "error", 3, 2, 1))

    recovered = "dj_queue.job.recovered"
    assert measured.total(recovered) == 6
    assert measured.total(recovered, dj_queue__job__outcome="released") == 3


def test_what_becomes_due_and_what_fires_is_counted(measured, make_runtime, finished):
    entry = {"task_path": WHERE, "schedule": "* * * * * *"}
    make_runtime(recurring={"tick": entry})
    finished(
        telemetry_tasks.where.using(run_after=timezone.now() + timedelta(seconds=0.3)).enqueue()
    )

    wait_until(lambda: measured.total("dj_queue.jobs.dispatched", dj_queue__backend="default") == 1)
    fires = "dj_queue.recurring.fires"
    wait_until(lambda: measured.total(fires, dj_queue__recurring__key="tick") >= 1)


def test_claims_are_timed_and_counted_by_task(measured, make_runtime, finished):
    result = telemetry_tasks.where.enqueue()
    make_runtime()
    finished(result)

    took = "messaging.client.operation.duration"
    wait_until(lambda: measured.total(took, messaging__operation__name="claim"))
    consumed = "messaging.client.consumed.messages"
    assert measured.total(consumed, dj_queue__task__name=WHERE, messaging__system="dj_queue") >= 1


def test_a_scheduled_job_and_a_failed_enqueue_are_told_apart(measured):
    telemetry_tasks.where.using(run_after=timezone.now() + timedelta(hours=1)).enqueue()
    sent = "messaging.client.sent.messages"
    took = "messaging.client.operation.duration"
    for name in (sent, took):
        assert measured.total(name, messaging__operation__name="schedule") == 1

    with connection.execute_wrapper(_refuse), pytest.raises(RuntimeError):
        telemetry_tasks.where.enqueue()
    for name in (sent, took):
        [failed] = [each for each in measured.points(name) if "error.type" in each.attributes]
        assert failed.attributes["messaging.operation.name"] == "enqueue"
        assert failed.attributes["error.type"] == "RuntimeError"


def _refuse(execute, sql, params, many, context):
    raise RuntimeError("the database is away")


def test_histograms_reach_an_hour(measured, make_runtime, finished):
    make_runtime()
    finished(telemetry_tasks.where.enqueue())
    wait_until(lambda: measured.points("messaging.process.duration"))

    [ended] = measured.points("messaging.process.duration")
    [waited] = measured.points("dj_queue.job.wait.duration")
    assert ended.explicit_bounds[-5:] == (30, 60, 300, 1800, 3600)
    assert (waited.explicit_bounds[0], waited.explicit_bounds[-1]) == (0.05, 1800)


def test_tasks_need_not_be_told_apart(measured, telemetry):
    telemetry({"metrics_task_label": False})

    telemetry_tasks.where.enqueue()

    [point] = measured.points("messaging.client.sent.messages")
    assert "dj_queue.task.name" not in point.attributes


def test_ids_and_arguments_are_in_no_metric(measured, make_runtime, finished):
    make_runtime()
    result = tasks.add.enqueue(987654321, b=1)
    finished(result)
    wait_until(lambda: measured.total("messaging.process.duration"))

    shown = measured._reader.get_metrics_data().to_json()
    assert result.id not in shown
    assert "987654321" not in shown


def test_the_leader_tells_what_is_in_the_queues(measured, make_runtime):
    make_runtime(workers={"queues": "nothing"})
    wait_until(leads_and_is_registered)
    task_backends["default"].enqueue_all(
        [(telemetry_tasks.where.using(queue_name="mail"), (), {})] * 4
    )

    depth = measured.points("dj_queue.queue.depth")

    found = {
        point.attributes["dj_queue.job.state"]: point.value
        for point in depth
        if point.attributes["messaging.destination.name"] == "mail"
    }
    assert found == {"ready": 4, "claimed": 0, "scheduled": 0, "blocked": 0, "failed": 0}
    # A reader that was just used says nothing of what has not changed: one look is one answer.
    [point] = [
        each
        for each in measured.points("dj_queue.process.count")
        if each.attributes["dj_queue.process.kind"] == "Worker"
        and each.attributes["dj_queue.process.status"] == "live"
    ]
    assert point.value == 1
    assert [
        each.value >= 0
        for each in measured.points("dj_queue.queue.latency")
        if each.attributes["messaging.destination.name"] == "mail"
    ] == [True]


def test_who_does_not_lead_says_nothing(measured, make_runtime):
    runtime = make_runtime()
    wait_until(leads_and_is_registered)
    assert measured.points("dj_queue.process.count")

    runtime.stop(5)

    assert "default" not in gauges._leads
    assert measured.points("dj_queue.process.count") == []


def test_an_exporters_thread_keeps_no_connection(measured, make_runtime):
    make_runtime()
    wait_until(leads_and_is_registered)
    seen = {}

    def export():
        seen["points"] = measured.points("dj_queue.process.count")
        seen["connection"] = connection.connection

    thread = threading.Thread(target=export)
    thread.start()
    thread.join(30)

    assert seen["points"]
    assert seen["connection"] is None


def test_without_an_sdk_there_are_no_instruments():
    assert providers.meter() is None
    assert instruments.current() is None
