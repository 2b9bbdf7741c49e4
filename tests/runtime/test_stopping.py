"""Stopping: claiming ends, what has not begun goes back, what runs gets its time, and no more."""

import threading
import time
from datetime import datetime

import pytest
from django.tasks.base import TaskResultStatus

from dj_queue import events
from dj_queue.api import is_stopping
from dj_queue.exceptions import ConfigurationError
from dj_queue.models import ClaimedExecution, FailedExecution, Process, ReadyExecution
from tests.site import runtime_tasks, tasks
from tests.site.runtime_tasks import gate
from tests.waiting import PATIENCE, wait_until

ONE_THREAD = [{"threads": 1}]


def test_a_running_job_may_end_and_the_rest_stays_ready(make_runtime, finished):
    runtime = make_runtime(workers=ONE_THREAD, shutdown_timeout=10)
    running = runtime_tasks.wait_at.enqueue("job")
    wait_until(gate("job began").is_set)
    waiting = tasks.add.enqueue(1, 1)
    stopping = threading.Thread(target=runtime.stop)
    stopping.start()
    wait_until(lambda: runtime.workers[0].is_stopping)

    gate("job").set()
    stopping.join(10)

    running.refresh()
    waiting.refresh()
    assert running.return_value is True
    assert waiting.status == TaskResultStatus.READY
    assert not Process.objects.exists()


def test_a_worker_that_lets_its_jobs_end_is_marked_once(make_runtime):
    runtime = make_runtime(workers=[{"threads": 2}], shutdown_timeout=20)
    worker = Process.objects.get(kind="Worker")
    for name in ("one", "two"):
        runtime_tasks.wait_at.enqueue(name)
        wait_until(gate(f"{name} began").is_set)
    stopping = threading.Thread(target=runtime.stop)

    stopping.start()
    wait_until(lambda: "shutdown_state" in Process.objects.get(id=worker.id).metadata)
    gate("one").set()
    wait_until(lambda: ClaimedExecution.objects.count() == 1)

    marked = Process.objects.get(id=worker.id).metadata
    gate("two").set()
    stopping.join(10)
    started_at = datetime.fromisoformat(marked.pop("shutdown_started_at"))
    assert started_at > worker.created_at
    assert marked == worker.metadata | {
        "shutdown_state": "draining",
        "shutdown_timeout": 20,
        "active_jobs": 2,
    }


def test_a_worker_that_claims_nothing_more_is_marked_though_nothing_runs(make_runtime):
    runtime = make_runtime(workers=ONE_THREAD)

    runtime.quiesce()

    wait_until(lambda: "shutdown_state" in Process.objects.get(kind="Worker").metadata)
    assert Process.objects.get(kind="Worker").metadata["active_jobs"] == 0


@pytest.mark.parametrize("how", ["stop", "quiesce"])
def test_one_that_was_taken_for_dead_meanwhile_is_marked_again(make_runtime, how):
    runtime = make_runtime(workers=ONE_THREAD, shutdown_timeout=20, process_heartbeat_interval=0.2)
    runtime_tasks.wait_at.enqueue("job")
    wait_until(gate("job began").is_set)
    stopping = threading.Thread(target=getattr(runtime, how))
    stopping.start()
    marked = Process.objects.filter(kind="Worker", metadata__shutdown_state="draining")
    first = wait_until(marked.first)

    Process.objects.update(supervisor=None)
    Process.objects.all().delete()

    again = wait_until(marked.exclude(id=first.id).first)
    gate("job").set()
    stopping.join(10)
    # It has stopped since the same moment.
    assert again.metadata == first.metadata


@pytest.mark.parametrize("how", ["stop", "quiesce"])
@pytest.mark.parametrize(
    "task", [runtime_tasks.until_stopping, runtime_tasks.async_until_stopping], ids=["def", "async"]
)
def test_a_job_can_ask_whether_its_worker_is_about_to_stop(make_runtime, finished, task, how):
    runtime = make_runtime(workers=ONE_THREAD, shutdown_timeout=20)
    job = task.enqueue("job")
    wait_until(gate("job began").is_set)

    getattr(runtime, how)()

    finished(job)
    job.refresh()
    assert job.return_value == [False, True]


def test_a_runtime_that_stops_says_nothing_to_jobs_of_others(make_runtime, finished):
    stopping = make_runtime(workers=[{"threads": 1, "queues": "none"}])
    make_runtime(workers=ONE_THREAD)
    job = runtime_tasks.until_stopping.enqueue("job", seconds=0.2)
    wait_until(gate("job began").is_set)

    stopping.stop()

    finished(job)
    job.refresh()
    assert job.return_value == [False, False]
    assert is_stopping() is False


def test_jobs_taken_ahead_are_ready_again_at_once(make_runtime, finished):
    runtime = make_runtime(workers=ONE_THREAD, shutdown_timeout=15)
    finished(*tasks.noop.get_backend().enqueue_all([(tasks.noop, (), {})] * 500))
    calls = [(runtime_tasks.wait_at, ("long",), {}), *[(tasks.noop, (), {})] * 50]
    tasks.noop.get_backend().enqueue_all(calls)
    wait_until(gate("long began").is_set)
    stopping = threading.Thread(target=runtime.stop)

    stopping.start()
    wait_until(lambda: ReadyExecution.objects.count() == 50, seconds=5)

    assert stopping.is_alive()
    assert ClaimedExecution.objects.count() == 1
    gate("long").set()
    stopping.join(10)


def test_a_job_that_does_not_end_in_time_is_failed_and_its_late_end_changes_nothing(make_runtime):
    runtime = make_runtime(workers=ONE_THREAD, shutdown_timeout=1)
    result = runtime_tasks.wait_at.enqueue("stubborn")
    wait_until(gate("stubborn began").is_set)

    started = time.monotonic()
    runtime.stop()

    assert time.monotonic() - started < 5 * PATIENCE
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class_path == "dj_queue.exceptions.ProcessExitError"
    gate("stubborn").set()
    wait_until(lambda: not _thread_named("worker-1-thread"))
    result.refresh()
    assert result.status == TaskResultStatus.FAILED


def test_async_jobs_that_do_not_end_in_time_are_failed(make_runtime):
    runtime = make_runtime(workers=ONE_THREAD, shutdown_timeout=1)
    result = runtime_tasks.await_at.enqueue("stubborn")
    wait_until(gate("stubborn began").is_set)

    runtime.stop()

    result.refresh()
    assert result.errors[0].exception_class_path == "dj_queue.exceptions.ProcessExitError"


def test_very_many_jobs_that_do_not_end_in_time_are_failed(make_runtime):
    runtime = make_runtime(workers=[{"threads": 1, "async_concurrency": 1500}], shutdown_timeout=6)
    backend = tasks.async_sleep.get_backend()
    backend.enqueue_all([(tasks.async_sleep, (60,), {})] * 1500)
    wait_until(lambda: runtime.running_jobs == 1500, seconds=30)

    runtime.stop()

    assert FailedExecution.objects.count() == 1500
    assert not ClaimedExecution.objects.exists()


def test_no_thread_is_left_after_a_stop(make_runtime, finished):
    before = set(threading.enumerate())
    runtime = make_runtime(workers=[{"threads": 3}, {"queues": "other", "threads": 2}])
    finished(tasks.add.enqueue(1, 1), tasks.async_sleep.enqueue(0))

    assert runtime.stop()

    wait_until(lambda: set(threading.enumerate()) <= before, what="no new threads")


def test_quiescing_stops_claims_but_not_the_runtime(make_runtime, finished):
    runtime = make_runtime(workers=ONE_THREAD)
    running = runtime_tasks.wait_at.enqueue("job")
    wait_until(gate("job began").is_set)

    runtime.quiesce()
    later = tasks.add.enqueue(1, 1)
    gate("job").set()
    finished(running)

    assert running.return_value is True
    later.refresh()
    assert later.status == TaskResultStatus.READY
    assert runtime.is_running


def test_start_and_stop_may_be_called_from_many_threads(make_runtime):
    runtime = make_runtime(started=False)
    barrier = threading.Barrier(12)
    outcomes = []

    def call(method):
        barrier.wait(10)
        outcomes.append(method())

    threads = [
        threading.Thread(target=call, args=(method,))
        for method in [runtime.start] * 6 + [lambda: runtime.stop(5)] * 6
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(outcomes) == 12
    assert not runtime.is_running
    wait_until(lambda: not Process.objects.exists())


def test_a_supervisor_that_has_stopped_does_not_start_again(make_runtime):
    runtime = make_runtime()
    runtime.stop()

    runtime.start()

    assert not runtime.is_running


def test_many_short_lives_leave_nothing_behind(make_runtime, finished):
    for _ in range(5):
        runtime = make_runtime()
        finished(tasks.add.enqueue(1, 1))
        assert runtime.stop()

    assert not Process.objects.exists()
    assert not ClaimedExecution.objects.exists()


def test_nothing_to_run_is_an_error_that_says_so(make_runtime):
    with pytest.raises(ConfigurationError, match="leaves nothing to run"):
        make_runtime(
            started=False,
            workers=[],
            dispatchers=[],
            clear_finished_jobs_after=None,
            clear_statistics_after=None,
        )


def test_start_and_stop_are_told(make_runtime):
    told: list[object] = []
    ends = [
        events.subscribe(kind, told.append)
        for kind in (events.SupervisorStarted, events.SupervisorStopped)
    ]

    runtime = make_runtime()
    runtime.stop()
    for end in ends:
        end()

    assert [type(event) for event in told] == [events.SupervisorStarted, events.SupervisorStopped]
    assert told[1].abandoned == 0


def _thread_named(part: str) -> bool:
    return any(part in thread.name for thread in threading.enumerate())
