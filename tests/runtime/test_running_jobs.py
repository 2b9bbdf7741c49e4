"""Jobs that run in threads and on the event loop of one process."""

from datetime import timedelta

from django.db import connection, transaction
from django.tasks.base import TaskResultStatus
from django.utils import timezone

from dj_queue import events
from dj_queue.models import ClaimedExecution, FailedExecution, Job, ReadyExecution
from dj_queue.store import Session
from tests.site import runtime_tasks, tasks
from tests.site.runtime_tasks import gate
from tests.waiting import wait_until

ONE_THREAD = [{"threads": 1}]


def test_a_job_runs_in_the_process_that_enqueued_it_and_its_result_is_kept(make_runtime, finished):
    runtime = make_runtime()

    (result,) = finished(tasks.add.enqueue(1, b=2))

    assert result.return_value == 3
    assert result.worker_ids == [runtime.workers[0].process_name]
    assert result.attempts == 1
    assert result.enqueued_at <= result.started_at == result.last_attempted_at <= result.finished_at
    assert not ClaimedExecution.objects.exists()


def test_what_is_enqueued_in_a_transaction_runs_after_its_commit(make_runtime, finished):
    make_runtime()

    with transaction.atomic():
        result = tasks.add.enqueue(1, 2)
        marker = tasks.add.enqueue(3, 4)
    finished(result, marker)

    assert result.return_value == 3


def test_one_thread_runs_by_priority_and_then_in_order_of_arrival(make_runtime, finished):
    note = runtime_tasks.note
    results = [
        note.using(priority=priority).enqueue(name)
        for name, priority in (("c", 0), ("a", 10), ("d", 0), ("b", 5), ("e", -1))
    ]

    make_runtime(workers=ONE_THREAD)
    finished(*results)

    assert runtime_tasks.seen() == ["a", "b", "c", "d", "e"]


def test_no_more_jobs_run_at_once_than_there_are_threads(make_runtime, finished):
    runtime = make_runtime(workers=[{"threads": 2}])
    results = [runtime_tasks.wait_at.enqueue(f"job {n}") for n in range(3)]
    gates = [gate(f"job {n} began") for n in range(3)]
    # A thread is busy a moment before its job begins.
    wait_until(lambda: sum(begun.is_set() for begun in gates) >= 2)

    assert runtime.running_jobs == 2
    assert sum(begun.is_set() for begun in gates) == 2
    assert ClaimedExecution.objects.count() == 2

    for n in range(3):
        gate(f"job {n}").set()
    finished(*results)


def test_async_jobs_run_side_by_side_and_threads_are_not_taken(make_runtime, finished):
    runtime = make_runtime(workers=[{"threads": 1, "async_concurrency": 20}])
    waiting = [runtime_tasks.await_at.enqueue(f"async {n}") for n in range(20)]
    for n in range(20):
        wait_until(gate(f"async {n} began").is_set)

    (sync,) = finished(tasks.add.enqueue(1, 1))

    assert sync.return_value == 2
    assert runtime.running_jobs == 20
    for n in range(20):
        gate(f"async {n}").set()
    assert [result.return_value for result in finished(*waiting)] == [True] * 20


def test_no_more_async_jobs_run_at_once_than_allowed(make_runtime, finished):
    runtime = make_runtime(workers=[{"threads": 1, "async_concurrency": 2}])
    results = [runtime_tasks.await_at.enqueue("same") for _ in range(5)]
    wait_until(lambda: runtime.running_jobs == 2)

    assert ClaimedExecution.objects.count() == 2
    assert ReadyExecution.objects.count() == 3

    gate("same").set()
    finished(*results)


def test_busy_threads_do_not_keep_async_jobs_waiting(make_runtime, finished):
    make_runtime(workers=ONE_THREAD)
    blocked = runtime_tasks.wait_at.enqueue("thread")
    wait_until(gate("thread began").is_set)

    (result,) = finished(tasks.async_sleep.enqueue(0))

    assert result.status == TaskResultStatus.SUCCESSFUL
    gate("thread").set()
    finished(blocked)


def test_a_thousand_sleeping_async_jobs_share_one_loop(make_runtime, finished):
    make_runtime(workers=[{"threads": 1, "async_concurrency": 1000}])
    backend = tasks.async_sleep.get_backend()

    results = backend.enqueue_all([(tasks.async_sleep, (0.1,), {}) for _ in range(1000)])
    wait_until(lambda: Job.objects.finished().count() == 1000, seconds=30)

    names = set(Job.objects.values_list("return_value", flat=True))
    assert len(names) == 1
    # One after the other they would take 100 seconds.
    first = Job.objects.order_by("started_at").first()
    last = Job.objects.order_by("-finished_at").first()
    assert last.finished_at - first.started_at < timedelta(seconds=20)
    assert len(results) == 1000


def test_each_async_job_has_a_context_of_its_own(make_runtime, finished):
    make_runtime()

    results = finished(*[runtime_tasks.read_and_set_variable.enqueue(n) for n in range(5)])

    assert [result.return_value for result in results] == ["unset"] * 5


def test_async_jobs_use_the_orm(make_runtime, finished):
    make_runtime()

    results = finished(*[runtime_tasks.count_rows_async.enqueue() for _ in range(10)])

    assert all(result.return_value >= 1 for result in results)


def test_a_scheduled_job_runs_when_it_is_due_and_not_before(make_runtime, finished):
    make_runtime()
    due = timezone.now() + timedelta(seconds=0.6)

    (result,) = finished(tasks.add.using(run_after=due).enqueue(1, 2))

    assert result.started_at >= due
    assert result.started_at - due < timedelta(seconds=3)


def test_a_dispatcher_asleep_until_later_wakes_for_an_earlier_job(make_runtime, finished):
    make_runtime()
    late = tasks.add.using(run_after=timezone.now() + timedelta(hours=1)).enqueue(1, 2)

    early = tasks.add.using(run_after=timezone.now() + timedelta(seconds=0.3)).enqueue(3, 4)
    finished(early, seconds=8)

    late.refresh()
    assert late.status == TaskResultStatus.READY


def test_finished_jobs_are_deleted_where_they_are_not_preserved(make_runtime):
    make_runtime(preserve_finished_jobs=False)

    runtime_tasks.note.enqueue("once")
    wait_until(lambda: runtime_tasks.seen() == ["once"])

    wait_until(lambda: not Job.objects.exists())
    assert not ClaimedExecution.objects.exists()


def test_a_worker_takes_only_the_queues_it_serves(make_runtime, finished):
    make_runtime(workers=[{"queues": ["mail", "img-*"], "threads": 1}])
    others = tasks.add.using(queue_name="other").enqueue(0, 0)

    served = [tasks.add.using(queue_name=name).enqueue(1, 1) for name in ("mail", "img-1", "img-2")]
    finished(*served)

    others.refresh()
    assert others.status == TaskResultStatus.READY
    assert ReadyExecution.objects.count() == 1


def test_a_short_job_does_not_wait_behind_a_long_one_while_another_worker_is_idle(
    make_runtime, finished
):
    busy = make_runtime(workers=ONE_THREAD)
    # Short jobs first, so that the busy worker takes ahead.
    finished(*tasks.noop.get_backend().enqueue_all([(tasks.noop, (), {})] * 200))
    long = runtime_tasks.wait_at.enqueue("long")
    wait_until(gate("long began").is_set)
    shorts = [tasks.add.enqueue(n, n) for n in range(20)]

    make_runtime(workers=ONE_THREAD)
    finished(*shorts, seconds=10)

    assert busy.running_jobs == 1
    gate("long").set()
    finished(long)


def test_jobs_taken_ahead_go_back_when_a_long_one_holds_the_thread(make_runtime, finished):
    released: list[events.JobsReleased] = []
    unsubscribe = events.subscribe(events.JobsReleased, released.append)
    runtime = make_runtime(workers=ONE_THREAD)
    finished(*tasks.noop.get_backend().enqueue_all([(tasks.noop, (), {})] * 500))

    calls = [(runtime_tasks.wait_at, ("long",), {}), *[(tasks.noop, (), {})] * 50]
    long, *shorts = tasks.noop.get_backend().enqueue_all(calls)
    wait_until(gate("long began").is_set)
    wait_until(lambda: ClaimedExecution.objects.count() == 1)
    unsubscribe()

    assert runtime.running_jobs == 1
    assert ReadyExecution.objects.count() == 50
    gate("long").set()
    finished(long, *shorts)


def test_async_jobs_go_back_when_one_of_them_holds_the_loop(make_runtime, finished):
    make_runtime(workers=[{"threads": 1, "async_concurrency": 3}])
    holder = runtime_tasks.hold_the_loop.enqueue("loop")
    wait_until(gate("loop began").is_set)
    waiting = [tasks.async_sleep.enqueue(0) for _ in range(2)]

    wait_until(lambda: ClaimedExecution.objects.count() == 3 or ReadyExecution.objects.exists())
    wait_until(lambda: ReadyExecution.objects.count() == 2)
    gate("loop").set()
    finished(holder, *waiting)


def test_an_idle_runtime_leaves_the_database_alone(make_runtime, finished, monkeypatch):
    runtime = make_runtime()
    finished(tasks.add.enqueue(1, 1))
    session_type = type(runtime.workers[0].open_session())
    if not runtime.workers[0].is_woken_by_database:
        # Without a wake-up from the database there is polling; how often is an option.
        return
    calls: list[str] = []
    for name in ("exchange", "promote_due", "heartbeat"):
        _spy(monkeypatch, session_type, name, calls)
    # What was under way when the job ended may still end.
    quiet = wait_until(lambda: _quiet(calls, seconds=1.5), seconds=20)

    assert quiet


def test_nothing_is_taken_ahead_with_a_prefetch_multiplier_of_one(make_runtime):
    claims = []
    unsubscribe = events.subscribe(events.JobsClaimed, claims.append)
    tasks.noop.get_backend().enqueue_all([(tasks.noop, (), {})] * 40)

    make_runtime(workers=[{"threads": 1, "prefetch_multiplier": 1}])
    wait_until(lambda: Job.objects.finished().count() == 40)
    unsubscribe()

    assert max(len(claim.jobs) for claim in claims) == 1


def test_a_runtime_that_does_not_listen_runs_jobs_all_the_same(make_runtime, finished):
    runtime = make_runtime(listen_notify=False, dispatchers=[])
    worker = runtime.workers[0]

    (result,) = finished(tasks.add.enqueue(1, 2))

    assert result.return_value == 3
    if connection.vendor == "postgresql":
        assert worker._session.topics == ()
        assert not worker.is_woken_by_database


def test_failed_jobs_keep_their_error_and_traceback(make_runtime, finished):
    make_runtime()

    (result,) = finished(tasks.add.enqueue(1))

    assert result.status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class is TypeError
    assert "missing 1 required positional argument" in result.errors[0].traceback
    assert FailedExecution.objects.get().exception_class == "builtins.TypeError"


def _spy(monkeypatch, session_type: type[Session], name: str, calls: list[str]) -> None:
    real = getattr(session_type, name)

    def noted(self, *args, **kwargs):
        calls.append(name)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(session_type, name, noted)


def _quiet(calls: list[str], *, seconds: float) -> bool:
    import threading

    calls.clear()
    threading.Event().wait(seconds)
    return not calls
