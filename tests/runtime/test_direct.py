"""A job that is enqueued where a worker is idle starts there at once, without ever being ready."""

import threading

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from dj_queue.ids import new_job_id
from dj_queue.models import ClaimedExecution, Job, Pause, ReadyExecution
from dj_queue.operations import direct, enqueue
from dj_queue.states import Executor
from dj_queue.store import store_for
from dj_queue.store.records import NewJob
from tests.site import runtime_tasks, tasks
from tests.site.runtime_tasks import gate
from tests.waiting import wait_until

ONE_THREAD = [{"threads": 1, "async_concurrency": 1}]


class Patient:
    """Offers the places of a runtime, and waits for one where there is none for a moment.

    A worker that is looking for work does not know yet what may come before a job, and so has no place; where
    no database wakes it, it looks ten times a second.
    """

    def __init__(self, runtime):
        self._runtime = runtime

    def reserve(self, *request):
        """See `dj_queue.operations.direct.Host`; never None."""
        return wait_until(lambda: self._runtime.reserve(*request), what=f"a place for {request}")


@pytest.fixture
def runtime(make_runtime):
    """A runtime with one thread."""
    return make_runtime(workers=ONE_THREAD, shutdown_timeout=10)


@pytest.fixture
def idle_runtime(runtime):
    """A runtime with one thread and nothing to do, of which an enqueue asks a place when it is idle."""
    patient = Patient(runtime)
    direct.withdraw(runtime)
    direct.offer(patient)
    yield runtime
    direct.withdraw(patient)


def test_it_is_written_as_claimed_in_one_step(idle_runtime, finished):
    with CaptureQueriesContext(connection) as queries:
        result = runtime_tasks.wait_at.enqueue("job")

    assert not any("INTO dj_queue_ready" in query["sql"] for query in queries if _is_not_cte(query))
    assert not ReadyExecution.objects.exists()
    assert ClaimedExecution.objects.count() == 1
    gate("job").set()
    (result,) = finished(result)
    assert result.return_value is True
    assert result.worker_ids == [idle_runtime.workers[0].process_name]


def test_an_async_job_goes_straight_to_the_loop(idle_runtime, finished):
    result = runtime_tasks.await_at.enqueue("async")
    wait_until(gate("async began").is_set)

    assert not ReadyExecution.objects.exists()
    gate("async").set()
    finished(result)


def test_in_a_transaction_a_job_does_not_start_before_the_commit(idle_runtime, finished):
    with transaction.atomic():
        result = runtime_tasks.note.enqueue("committed")
        assert ReadyExecution.objects.count() == 1
        assert runtime_tasks.seen() == []
    finished(result)

    assert runtime_tasks.seen() == ["committed"]


def test_a_busy_thread_takes_no_second_job(runtime, finished):
    first = runtime_tasks.wait_at.enqueue("job")
    wait_until(gate("job began").is_set)

    second = tasks.add.enqueue(1, 1)

    assert ClaimedExecution.objects.count() <= 2
    wait_until(lambda: ReadyExecution.objects.count() == 1)
    gate("job").set()
    finished(first, second)


def test_a_paused_queue_stays_paused(idle_runtime):
    Pause.objects.create(backend_alias="default", queue_name="default")

    result = runtime_tasks.note.enqueue("never")

    assert ReadyExecution.objects.get().job_id.hex == result.id.replace("-", "")
    assert not ClaimedExecution.objects.exists()
    wait_until(lambda: idle_runtime.workers[0].has_place(Executor.THREAD))


def test_what_the_task_changes_in_its_arguments_is_not_the_callers(idle_runtime, finished):
    given = {"list": [1]}

    result = runtime_tasks.append_to_argument.enqueue(given)
    (result,) = finished(result)

    assert result.return_value == [1, "changed"]
    assert given == {"list": [1]}
    assert result.args == [{"list": [1]}]


def test_many_threads_at_once_get_no_place_twice(make_runtime, finished):
    make_runtime(workers=[{"threads": 2}])
    barrier = threading.Barrier(8)
    results = []

    def enqueue_some():
        barrier.wait(10)
        for n in range(20):
            results.append(runtime_tasks.note.enqueue(n))
        connection.close()

    threads = [threading.Thread(target=enqueue_some) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    wait_until(lambda: Job.objects.finished().count() == 160, seconds=60)

    assert len(runtime_tasks.seen()) == 160
    assert all(len(ids) == 1 for ids in Job.objects.values_list("worker_ids", flat=True))


def test_a_stop_waits_for_a_job_on_its_way_and_gives_it_back(idle_runtime):
    place = direct.reserve("default", "default", "default", Executor.THREAD)
    job = _new_job()
    store_for("default").insert_claimed(
        "default", job, process_id=place.process_id, token=place.token
    )
    stopping = threading.Thread(target=idle_runtime.stop)
    stopping.start()
    wait_until(lambda: idle_runtime.workers[0].is_stopping)

    place.take(_claimed(job, place))
    stopping.join(15)

    assert ReadyExecution.objects.filter(job_id=job.id).exists() or Job.objects.finished().filter(
        id=job.id
    )
    assert not ClaimedExecution.objects.exists()


def test_a_job_that_comes_after_the_stop_is_ready_again(idle_runtime):
    place = direct.reserve("default", "default", "default", Executor.THREAD)
    job = _new_job()
    idle_runtime.stop(1)
    store_for("default").insert_claimed(
        "default", job, process_id=place.process_id, token=place.token
    )

    place.take(_claimed(job, place))

    assert ReadyExecution.objects.get().job_id == job.id
    assert not ClaimedExecution.objects.exists()


def test_a_claim_whose_answer_was_lost_is_found_and_run(idle_runtime):
    place = direct.reserve("default", "default", "default", Executor.THREAD)
    job = _new_job()
    store_for("default").insert_claimed(
        "default", job, process_id=place.process_id, token=place.token
    )

    place.give_up(in_doubt=True)

    wait_until(lambda: Job.objects.finished().filter(id=job.id).exists())


def test_without_a_runtime_there_is_no_place():
    assert direct.reserve("default", "default", "default", Executor.THREAD) is None


def _is_not_cte(query):
    # PostgreSQL has one statement for both cases, and decides in it.
    return "WITH" not in query["sql"]


def _new_job():
    return NewJob(
        new_job_id(),
        "tests.site.tasks.noop",
        "default",
        0,
        Executor.THREAD,
        '{"args":[],"kwargs":{}}',
        None,
    )


def _claimed(job, place):
    return enqueue._claimed(job, place.token, Job.objects.get(id=job.id).created_at)
