"""Jobs that try to take the worker with them: each fails alone, and the next one runs."""

import threading

import pytest
from django.tasks.base import TaskResultStatus

from dj_queue.ids import new_job_id
from dj_queue.models import ClaimedExecution, FailedExecution, Job
from dj_queue.states import Executor
from dj_queue.store import store_for
from dj_queue.store.records import NewJob
from tests.site import runtime_tasks, tasks
from tests.waiting import wait_until


@pytest.mark.parametrize("poison", runtime_tasks.POISONS, ids=lambda task: task.name)
def test_a_poisonous_job_fails_and_the_only_thread_takes_the_next(poison, make_runtime, finished):
    runtime = make_runtime(workers=[{"threads": 1}])

    bad, good = finished(poison.enqueue(), runtime_tasks.count_rows.enqueue())

    assert bad.status == TaskResultStatus.FAILED
    assert bad.errors[0].exception_class_path
    assert good.return_value == 2
    assert runtime.is_running
    assert not ClaimedExecution.objects.exists()


@pytest.mark.parametrize("poison", runtime_tasks.ASYNC_POISONS, ids=lambda task: task.name)
def test_a_poisonous_async_job_fails_and_the_loop_takes_the_next(poison, make_runtime, finished):
    make_runtime(workers=[{"threads": 1, "async_concurrency": 1}])

    bad, good = finished(poison.enqueue(), tasks.async_sleep.enqueue(0))

    assert bad.status == TaskResultStatus.FAILED
    assert good.status == TaskResultStatus.SUCCESSFUL


def test_a_task_left_behind_on_the_loop_cannot_end_it(make_runtime, finished):
    make_runtime(workers=[{"threads": 1, "async_concurrency": 1}])

    bad, good = finished(runtime_tasks.exit_in_a_child_task.enqueue(), tasks.async_sleep.enqueue(0))

    assert bad.errors[0].exception_class is ValueError
    assert good.status == TaskResultStatus.SUCCESSFUL


def test_many_exits_use_up_no_thread(make_runtime, finished):
    make_runtime(workers=[{"threads": 2}])
    finished(tasks.add.enqueue(0, 0))
    before = threading.active_count()

    finished(*[runtime_tasks.exit_now.enqueue() for _ in range(20)])

    assert threading.active_count() == before
    (good,) = finished(tasks.add.enqueue(1, 1))
    assert good.return_value == 2


def test_a_job_whose_task_is_gone_fails_with_the_reason(make_runtime, finished):
    result = tasks.add.enqueue(1, 1)
    Job.objects.update(task_path="tests.site.tasks.no_such_task")

    make_runtime()
    wait_until(lambda: FailedExecution.objects.exists())

    failure = FailedExecution.objects.get()
    assert failure.exception_class == "dj_queue.exceptions.TaskNotImportable"
    assert "tests.site.tasks.no_such_task cannot be imported" in failure.message
    assert str(failure.job_id) == result.id


def test_a_closed_connection_is_not_passed_on(make_runtime, finished):
    make_runtime(workers=[{"threads": 1}])

    closing, counting = finished(
        runtime_tasks.close_connection_under_django.enqueue(), runtime_tasks.count_rows.enqueue()
    )

    assert closing.status == TaskResultStatus.SUCCESSFUL
    assert counting.return_value == 2


def test_a_leaked_transaction_is_named_in_the_error(make_runtime, finished):
    make_runtime(workers=[{"threads": 1}])

    (result,) = finished(runtime_tasks.leave_transaction_open.enqueue())

    failure = FailedExecution.objects.get()
    assert failure.exception_class == "dj_queue.exceptions.TransactionLeaked"
    assert "open transaction on the database 'default'" in failure.message
    assert result.errors


def test_a_module_that_fails_slowly_at_its_import_fails_its_job_and_no_other(
    make_runtime, finished
):
    make_runtime(workers=[{"threads": 2}])
    job = NewJob(
        new_job_id(), "tests.site.fails_slowly.task", "default", 0, Executor.THREAD,
        '{"args": [], "kwargs": {}}', None,
    )  # fmt: skip
    store_for("default").insert("default", [job])

    failure = wait_until(FailedExecution.objects.filter(job_id=job.id).first)
    (good,) = finished(tasks.add.enqueue(1, 1))

    assert failure.exception_class == "dj_queue.exceptions.TaskNotImportable"
    assert "not after all this time" in failure.message
    assert good.return_value == 2
