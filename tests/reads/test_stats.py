"""Stats say what is there, cheaply, and say where they estimate."""

import json
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dj_queue import observability
from dj_queue.config import load_backend_config
from dj_queue.ids import new_job_ids
from dj_queue.models import (
    BlockedExecution,
    ClaimedExecution,
    FailedExecution,
    Job,
    Leadership,
    PastPause,
    Pause,
    Process,
    ReadyExecution,
    RecurringExecution,
    RecurringTask,
    ScheduledExecution,
    Semaphore,
    SemaphoreHolder,
    Statistic,
)
from dj_queue.reads import counts, stats
from dj_queue.states import JobState
from tests.site import tasks


@pytest.fixture
def config():
    return load_backend_config("default")


def in_queue(name, **using):
    return tasks.add.using(queue_name=name, **using)


def fail(result, *, at=None):
    ReadyExecution.objects.filter(job_id=result.id).delete()
    return FailedExecution.objects.create(job_id=result.id, created_at=at or timezone.now())


def queue(config, name="default"):
    return next(each for each in stats.queue_stats(config) if each.name == name)


def test_each_state_is_counted_by_queue(config):
    in_queue("mail").enqueue(1, 1)
    in_queue("mail").enqueue(1, 1)
    due = timezone.now() + timedelta(hours=1)
    in_queue("mail", run_after=due + timedelta(hours=1)).enqueue(1, 1)
    in_queue("mail", run_after=due).enqueue(1, 1)
    fail(in_queue("mail").enqueue(1, 1))
    claimed = in_queue("mail").enqueue(1, 1)
    ReadyExecution.objects.filter(job_id=claimed.id).delete()
    ClaimedExecution.objects.create(job_id=claimed.id, token=1)
    blocked = in_queue("mail").enqueue(1, 1)
    ReadyExecution.objects.filter(job_id=blocked.id).delete()
    expires = timezone.now().replace(microsecond=0)
    BlockedExecution.objects.create(
        job_id=blocked.id, queue_name="mail", concurrency_key="k", expires_at=expires
    )
    Statistic.objects.create(
        backend_alias="default", minute=0, queue_name="mail", task_path="t", finished=70
    )

    found = queue(config, "mail")

    assert {state: getattr(found, state) for state in JobState} == {
        "ready": 2, "scheduled": 2, "claimed": 1, "blocked": 1, "failed": 1, "finished": 70,
    }  # fmt: skip
    assert found.estimated == ()
    assert abs(found.next_scheduled_at - due) < timedelta(seconds=1)
    assert found.oldest_blocked_at == expires


def test_other_backends_are_not_counted(config):
    fail(in_queue("mail").enqueue(1, 1))
    in_queue("mail").enqueue(1, 1)
    Job.objects.update(backend_alias="other")
    ReadyExecution.objects.update(backend_alias="other")

    assert stats.queue_stats(config) == []


def test_the_wait_is_that_of_the_oldest_of_any_priority_and_executor(config):
    for priority in (5, 0, -5, -5, 5):
        in_queue("mail", priority=priority).enqueue(1, 1)
    old = in_queue("mail", priority=-7).enqueue(1, 1)
    in_queue("mail", priority=-9).enqueue(1, 1)
    ReadyExecution.objects.filter(job_id=old.id).update(
        created_at=F("created_at") - timedelta(hours=1), executor=4
    )

    assert queue(config, "mail").latency == pytest.approx(3600, abs=60)


def test_every_queue_is_told_that_is_known_from_anything(config):
    in_queue("ready").enqueue(1, 1)
    in_queue("scheduled", run_after=timezone.now() + timedelta(hours=1)).enqueue(1, 1)
    fail(in_queue("failed").enqueue(1, 1))
    Pause.objects.create(queue_name="paused")
    RecurringTask.objects.create(key="k", task_path="t", schedule="@daily", queue_name="recurring")
    Statistic.objects.create(backend_alias="default", minute=0, queue_name="ran", task_path="t")

    names = [each.name for each in stats.queue_stats(config)]

    assert names == ["failed", "paused", "ran", "ready", "recurring", "scheduled"]


def test_pauses_do_not_count_as_waiting(config):
    in_queue("mail").enqueue(1, 1)
    ReadyExecution.objects.update(created_at=F("created_at") - timedelta(hours=1))
    since = ReadyExecution.objects.get().created_at
    PastPause.objects.create(
        queue_name="mail", paused_at=since, resumed_at=since + timedelta(minutes=50)
    )

    assert queue(config, "mail").latency == pytest.approx(600, abs=60)

    Pause.objects.create(queue_name="mail")
    paused = queue(config, "mail")
    assert (paused.latency, paused.paused, paused.oldest_ready_at) == (None, True, since)


def many_ready(numbers):
    """So many ready jobs in each queue, which the planner knows of."""
    for name, number in numbers.items():
        ReadyExecution.objects.bulk_create(
            ReadyExecution(job_id=job_id, queue_name=name) for job_id in new_job_ids(number)
        )
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE dj_queue_ready_executions")
        elif connection.vendor == "mysql":
            cursor.execute("ANALYZE TABLE dj_queue_ready_executions")
            cursor.fetchall()


def test_what_is_too_much_to_count_is_estimated_and_says_so(config, monkeypatch):
    monkeypatch.setattr(counts, "EXACT", 10)
    many_ready({"few": 1, "many": 200})

    few, many = queue(config, "few"), queue(config, "many")

    assert (few.ready, few.estimated) == (1, ())
    assert 100 <= many.ready <= 400
    is_counted = connection.vendor == "sqlite"
    assert many.estimated == (() if is_counted else (JobState.READY,))


def test_large_queues_are_estimated_with_one_question(config, monkeypatch):
    monkeypatch.setattr(counts, "EXACT", 10)
    many_ready({"a": 1000, "b": 50, "c": 300})

    with transaction.atomic(), CaptureQueriesContext(connection) as asked:
        if connection.vendor == "postgresql":
            make_workers_cheap()
        found = counts.waiting(config, ["a", "b", "c"])[JobState.READY]

    for name, number in (("a", 1000), ("b", 50), ("c", 300)):
        assert found[name].number == pytest.approx(number, rel=0.3)
    explained = [query for query in asked if query["sql"].startswith("EXPLAIN")]
    assert len(explained) == (0 if connection.vendor == "sqlite" else 1)


def make_workers_cheap():
    """What the planner then expects of a part of a plan is what one worker would find."""
    costs = ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size")
    scans = ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan")
    with connection.cursor() as cursor:
        for name in (*costs, *scans):
            cursor.execute(f"SET LOCAL {name} = 0")


def test_many_failures_are_sampled_and_spread_over_the_queues(config, monkeypatch):
    monkeypatch.setattr(counts, "SAMPLE", 4)
    monkeypatch.setattr("dj_queue.store.base.Store.estimated_rows", lambda *_: [40])
    monkeypatch.setattr(type(counts.store_for("default")), "estimated_rows", lambda *_: [40])
    for name in ("a", "b", "a", "b", "a", "b"):
        fail(in_queue(name).enqueue(1, 1))

    found = counts.failed(config, kept_since=None)

    assert found.by_queue == {"a": counts.Count(20, False), "b": counts.Count(20, False)}
    assert found.total == counts.Count(40, False)


def test_failures_over_their_retention_are_told(config):
    now = timezone.now().replace(microsecond=0)
    for age in (50, 30, 10):
        fail(in_queue("a").enqueue(1, 1), at=now - timedelta(seconds=age))

    found = counts.failed(config, kept_since=now - timedelta(seconds=20))

    assert found.total == (3, True)
    assert found.oldest == found.oldest_over_retention == now - timedelta(seconds=50)
    assert found.over_retention == (2, True)


def test_processes_live_or_are_stale_and_workers_serve_queues(config):
    Process.objects.create(
        name="w1", kind="Worker", pid=1, hostname="h", metadata={"queues": "mail*,b"}
    )
    Process.objects.create(
        name="w2",
        kind="Worker",
        pid=1,
        hostname="h",
        metadata={"queues": "*"},
        last_heartbeat_at=timezone.now() - timedelta(hours=1),
    )
    Process.objects.create(name="s", kind="Supervisor", pid=1, hostname="h")
    in_queue("mail-out").enqueue(1, 1)
    in_queue("other").enqueue(1, 1)

    taken = stats.snapshot(config)

    assert stats.by_status(taken.processes) == {
        "Worker": {"live": 1, "stale": 1},
        "Supervisor": {"live": 1, "stale": 0},
    }
    assert {each.name: each.live_workers for each in taken.queues} == {"mail-out": 1, "other": 0}


def test_recurring_tasks_and_semaphores_are_listed(config):
    now = timezone.now().replace(microsecond=0)
    for key, enabled in (("nightly", True), ("off", False)):
        RecurringTask.objects.create(
            key=key, task_path="t", schedule="@daily", next_run_at=now, enabled=enabled
        )
    for days in (2, 1):
        RecurringExecution.objects.create(task_key="nightly", run_at=now - timedelta(days=days))
    Semaphore.objects.create(key="k", value=1, limit=3, expires_at=now)
    for _ in range(2):
        SemaphoreHolder.objects.create(key="k")

    taken = stats.snapshot(config)

    nightly, off = taken.recurring
    assert (nightly.last_run_at, nightly.next_run_at) == (now - timedelta(days=1), now)
    assert (off.last_run_at, off.next_run_at) == (None, None)
    [semaphore] = taken.semaphores
    assert (semaphore.limit, semaphore.occupied, semaphore.available) == (3, 2, 1)


def test_the_payload_is_json_with_the_names_that_are_documented(config):
    in_queue("mail").enqueue(1, 1)
    Leadership.objects.create(role="dispatcher", process_name="d", pid=1, hostname="h")

    [backend] = json.loads(json.dumps(observability.stats_payload()))["backends"]

    assert {
        "backend_alias", "queue_database_alias", "process_alive_threshold", "queues",
        "runner_metrics", "recurring", "semaphores", "failed_jobs",
    } <= set(backend)  # fmt: skip
    assert {
        "name", "ready_count", "claimed_count", "scheduled_count", "blocked_count", "failed_count",
        "finished_count", "paused", "latency_seconds", "oldest_scheduled_at", "oldest_blocked_at",
        "live_worker_count",
    } <= set(backend["queues"][0])  # fmt: skip
    assert backend["leaders"][0]["role"] == "dispatcher"
    assert ("postgres_diagnostics" in backend) == (connection.vendor == "postgresql")


def test_of_other_sessions_of_the_server_nothing_is_told(config):
    [backend] = observability.stats_payload()["backends"]

    if connection.vendor == "postgresql":
        tables = backend["postgres_diagnostics"]["queue_tables"]
        assert "dj_queue_jobs" in {table["table_name"] for table in tables}
        assert all(table["table_name"].startswith("dj_queue_") for table in tables)
    text = json.dumps(backend)
    assert "client_addr" not in text
    assert "application_name" not in text


def test_the_number_of_statements_does_not_grow_with_jobs(config):
    def statements():
        with CaptureQueriesContext(connection) as seen:
            stats.snapshot(config)
        return len(seen)

    in_queue("mail").enqueue(1, 1)
    fail(in_queue("mail").enqueue(1, 1))
    few = statements()
    for _ in range(5):
        in_queue("mail").enqueue(1, 1)
        fail(in_queue("mail").enqueue(1, 1))

    assert statements() == few
    assert few <= 30
    assert ScheduledExecution.objects.count() == 0
