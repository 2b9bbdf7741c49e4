"""Functions of the project that are called when the parts of a runtime start and end."""

import threading
from datetime import timedelta

import pytest

from dj_queue import events, hooks
from dj_queue.models import Job, Process
from dj_queue.runtime.supervisor import Supervisor
from tests.site import runtime_tasks, tasks
from tests.site.runtime_tasks import gate
from tests.waiting import PATIENCE, wait_until


@pytest.fixture(autouse=True)
def no_hooks_left():
    yield
    hooks.clear_hooks()


@pytest.fixture
def called():
    """What was called, in order: the event, the process, and whether its row was there."""
    seen = []

    def note(event):
        def hook(process):
            seen.append((event, process, Process.objects.filter(pk=process.pk).exists()))

        hooks.register_hook(event, hook)

    for event in hooks.EVENTS:
        note(event)
    return seen


def test_they_are_called_in_order_with_the_row_of_each_part(make_runtime, called):
    runtime = make_runtime(workers=[{"threads": 2}], dispatchers=[{}])
    assert [event for event, _, _ in called] == [
        "supervisor.start",
        "worker.start",
        "dispatcher.start",
        "scheduler.start",
    ]
    runtime.stop()

    events = [event for event, _, _ in called]
    assert events.index("worker.stop") < events.index("worker.exit")
    assert events.index("dispatcher.stop") < events.index("dispatcher.exit")
    assert events[-2:] == ["supervisor.stop", "supervisor.exit"]
    assert [is_there for event, _, is_there in called] == [
        not event.endswith(".exit") for event in events
    ]
    worker = next(process for event, process, _ in called if event == "worker.start")
    assert worker.name == runtime.workers[0].process_name
    assert (worker.kind, worker.backend_alias, worker.metadata["threads"]) == (
        "Worker",
        "default",
        2,
    )
    supervisor = called[0][1]
    assert worker.supervisor_id == supervisor.id
    assert supervisor.name == runtime.name


def test_the_row_of_each_part_says_what_it_does(make_runtime):
    make_runtime(scheduler={"dynamic_tasks_enabled": True}, shutdown_timeout=4)

    told = {row.kind: set(row.metadata) for row in Process.objects.all()}

    assert all(set_of >= {"dj_queue_version", "rollout_protocol"} for set_of in told.values())
    assert told["Supervisor"] >= {
        "mode", "standalone", "worker_count", "dispatcher_count", "has_scheduler",
    }  # fmt: skip
    assert told["Worker"] >= {"queues", "threads", "polling_interval"}
    assert told["Dispatcher"] >= {
        "batch_size", "polling_interval", "concurrency_maintenance", "concurrency_maintenance_interval",
    }  # fmt: skip
    assert told["Scheduler"] >= {
        "dynamic_tasks_enabled", "polling_interval", "static_task_count", "cleanup_enabled",
    }  # fmt: skip


def test_a_supervisor_may_be_given_an_environment_and_be_embedded():
    supervisor = Supervisor.from_backend_config(env={"DJ_QUEUE_MODE": "fork"}, standalone=False)

    supervisor.start()
    assert supervisor.wait_until_ready(20 * PATIENCE)

    told = Process.objects.get(kind="Supervisor").metadata
    supervisor.stop()
    assert (told["mode"], told["standalone"]) == ("fork", False)


def test_errors_of_the_runtime_reach_the_handler(make_runtime, failures):
    heard = []
    runtime = make_runtime(on_thread_error=heard.append)
    error = OSError("no room")

    events.emit(
        events.ActorFailed("default", runtime.workers[0].process_name, error, 1, timedelta(0))
    )
    events.emit(events.ActorFailed("another backend", "worker", OSError(), 1, timedelta(0)))

    assert heard == [error]


def test_no_job_begins_before_the_start_hooks_have_ended(make_runtime):
    go_on = threading.Event()
    hooks.on_worker_start(lambda _: go_on.wait(10))
    result = tasks.add.enqueue(1, 1)
    runtime = make_runtime(started=False)
    runtime.start()

    assert not runtime.wait_until_ready(0.3)
    assert not Job.objects.claimed().exists()
    go_on.set()
    wait_until(Job.objects.filter(id=result.id).finished().exists)


def test_a_hook_that_raises_is_reported_and_the_next_is_called(make_runtime, failures):
    heard, called = [], []

    @hooks.on_start
    def broken(process):
        raise ValueError("no")

    @hooks.on_start
    def next_one(process):
        called.append(process.name)

    runtime = make_runtime(on_thread_error=heard.append)

    assert called == [runtime.name]
    assert [str(error) for error in heard] == ["no"]


def test_a_hook_that_exits_or_hangs_stops_nobody(make_runtime, failures):
    hang = threading.Event()

    @hooks.on_worker_start
    def leave(process):
        raise SystemExit(3)

    hooks.on_worker_stop(lambda _: hang.wait(30))
    runtime = make_runtime(workers=[{"threads": 1}], shutdown_timeout=4)
    running = runtime_tasks.wait_at.enqueue("job")
    wait_until(gate("job began").is_set)
    stopping = threading.Thread(target=runtime.stop)
    stopping.start()
    wait_until(lambda: runtime.workers[0].is_stopping)
    gate("job").set()

    wait_until(Job.objects.filter(id=running.id).finished().exists, seconds=3)
    hang.set()
    stopping.join(10)


def test_stop_hooks_are_called_while_jobs_still_run(make_runtime):
    running = []
    runtime = make_runtime(workers=[{"threads": 1}], shutdown_timeout=10)
    hooks.on_worker_stop(lambda _: running.append(runtime.running_jobs))
    runtime_tasks.wait_at.enqueue("job")
    wait_until(gate("job began").is_set)
    stopping = threading.Thread(target=runtime.stop)
    stopping.start()
    wait_until(lambda: running)
    gate("job").set()
    stopping.join(10)

    assert running == [1]


def test_registering_an_unknown_event_is_an_error():
    with pytest.raises(
        ValueError, match=r"expected one of supervisor\.start, .*found 'worker\.begin'"
    ):
        hooks.register_hook("worker.begin")


def test_hooks_are_fired_and_forgotten_by_hand():
    called = []
    assert hooks.register_hook("worker.stop", called.append) == called.append
    process = Process(name="worker")

    hooks.fire_hooks("worker.stop", process)
    hooks.clear_hooks("worker.stop")
    hooks.fire_hooks("worker.stop", process)

    assert called == [process]
