"""Results: what is shown of a job in each of its states."""

from datetime import timedelta
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.tasks import Task, TaskResultStatus, default_task_backend, task_backends
from django.tasks.base import TaskError
from django.tasks.exceptions import TaskResultDoesNotExist, TaskResultMismatch
from django.utils import timezone

from dj_queue.ids import new_job_id
from dj_queue.models import BlockedExecution, ClaimedExecution, Job, Process, ReadyExecution
from tests.site import catalogue
from tests.site.tasks import add


def get_result(way: str, result_id, source=default_task_backend):
    if way == "get_result":
        return source.get_result(result_id)
    return async_to_sync(source.aget_result)(result_id)


both_ways = pytest.mark.parametrize("way", ["get_result", "aget_result"])


@both_ways
def test_a_result_that_is_read_equals_the_one_from_enqueue(way):
    later = timezone.now() + timedelta(days=1, microseconds=1)
    task = catalogue.echo.using(queue_name="mail", priority=-3, run_after=later)

    result = task.enqueue(1, "é", x={"y": [None]})

    assert get_result(way, result.id) == result
    assert get_result(way, result.id, catalogue.echo) == result


@pytest.mark.parametrize(
    "task",
    [add, catalogue.echo_async, catalogue.send_mail, catalogue.read_context],
    ids=lambda task: task.name,
)
def test_a_result_has_the_task_as_it_was_enqueued(task):
    result = task.enqueue()

    assert default_task_backend.get_result(result.id).task == task


def test_one_result_is_one_statement_in_every_state(worker, count_statements):
    ready, done, failed, claimed = (add.enqueue(1, 2) for _ in range(4))
    jobs = {str(job.id): job for job in worker.claim(4)}
    worker.succeed(jobs[done.id], 3)
    worker.fail(jobs[failed.id])
    ClaimedExecution.objects.filter(job_id=ready.id).delete()
    ReadyExecution.objects.create(job_id=ready.id)

    for result in (ready, done, failed, claimed):
        with count_statements() as statements:
            default_task_backend.get_result(result.id)
        assert len(statements) == 1


@both_ways
@pytest.mark.parametrize(
    "result_id",
    [
        str(new_job_id()),
        str(uuid4()),
        "",
        "123",
        "not-a-uuid",
        "0" * 33,
        "x\0y",
        "\ud800",
        "' OR 1=1 --",
        None,
        5,
        object(),
    ],
    ids=lambda value: ascii(value) if isinstance(value, str) else type(value).__name__,
)
def test_an_id_that_leads_nowhere_is_a_result_that_does_not_exist(way, result_id):
    add.enqueue(1, 2)

    with pytest.raises(TaskResultDoesNotExist):
        get_result(way, result_id)
    with pytest.raises(TaskResultDoesNotExist):
        get_result(way, result_id, add)


@both_ways
def test_a_job_of_another_backend_does_not_exist_here(way, use_tasks):
    use_tasks(default={}, second={})
    result = add.using(backend="second").enqueue(1, 2)

    with pytest.raises(TaskResultDoesNotExist):
        get_result(way, result.id)

    assert get_result(way, result.id, task_backends["second"]) == result


@both_ways
def test_a_result_of_another_task_is_a_mismatch(way):
    result = add.enqueue(1, 2)

    with pytest.raises(TaskResultMismatch, match=r"tests\.site\.tasks\.add"):
        get_result(way, result.id, catalogue.echo)
    assert get_result(way, result.id, add.using(priority=9, queue_name="other")) == result


def test_an_id_may_be_written_in_another_form():
    result = add.enqueue(1, 2)

    assert default_task_backend.get_result(result.id.upper()) == result
    assert default_task_backend.get_result(result.id.replace("-", "")).id == result.id
    assert default_task_backend.get_result(Job.objects.get().id) == result


def test_a_scheduled_job_is_ready_to_django():
    later = timezone.now() + timedelta(hours=1)

    result = add.using(run_after=later).enqueue(1, 2)

    again = default_task_backend.get_result(result.id)
    assert again.status == TaskResultStatus.READY
    assert again.task.run_after == later
    assert again.started_at is None


def test_a_blocked_job_is_ready_to_django():
    result = add.enqueue(1, 2)
    ReadyExecution.objects.all().delete()
    BlockedExecution.objects.create(
        job_id=result.id, concurrency_key="k", expires_at=timezone.now()
    )

    assert default_task_backend.get_result(result.id) == result


def test_a_job_without_any_row_of_state_is_ready_to_django():
    result = add.enqueue(1, 2)
    ReadyExecution.objects.all().delete()

    assert default_task_backend.get_result(result.id) == result


def test_a_running_job_has_its_start_and_its_worker(make_worker):
    worker = make_worker(name="host:17:worker-1")
    result = add.enqueue(1, 2)
    worker.claim_one()

    result.refresh()

    claim = ClaimedExecution.objects.get()
    assert result.status == TaskResultStatus.RUNNING
    assert result.is_finished is False
    assert result.started_at == result.last_attempted_at == claim.started_at
    assert result.started_at >= result.enqueued_at
    assert result.finished_at is None
    assert result.errors == []
    assert result.worker_ids == ["host:17:worker-1"]
    assert result.attempts == 1
    with pytest.raises(ValueError, match="Task has not finished yet"):
        _ = result.return_value


def test_a_claimed_job_that_has_not_begun_is_ready_to_django(worker):
    result = add.enqueue(1, 2)
    worker.claim_one()
    ClaimedExecution.objects.update(started_at=None)

    again = default_task_backend.get_result(result.id)

    assert again == result


def test_a_running_job_whose_worker_is_gone_is_running_without_a_name(worker):
    result = add.enqueue(1, 2)
    worker.claim_one()
    Process.objects.all().delete()

    again = default_task_backend.get_result(result.id)

    assert again.status == TaskResultStatus.RUNNING
    assert again.worker_ids == []


def test_a_job_that_ended_well_has_its_times_its_worker_and_its_value(worker):
    result = add.enqueue(1, 2)
    outcome = worker.succeed(worker.claim_one(), {"sum": 3})

    result.refresh()

    assert result.status == TaskResultStatus.SUCCESSFUL
    assert result.is_finished is True
    assert result.return_value == {"sum": 3}
    assert result.started_at == result.last_attempted_at == outcome.started_at
    assert result.finished_at == outcome.finished_at
    assert result.enqueued_at <= result.started_at <= result.finished_at
    assert result.worker_ids == [worker.name]
    assert result.attempts == 1
    assert result.errors == []
    assert result == default_task_backend.get_result(result.id)


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}, "x", 1e300], ids=repr)
def test_what_a_task_returned_comes_back(worker, value):
    result = add.enqueue(1, 2)
    worker.succeed(worker.claim_one(), value)

    result.refresh()

    assert result.status == TaskResultStatus.SUCCESSFUL
    assert result.return_value == value
    assert type(result.return_value) is type(value)


def test_a_failed_job_has_its_error_and_its_times(worker):
    result = add.enqueue(1, 2)
    outcome = worker.fail(worker.claim_one(), "what happened")

    result.refresh()

    assert result.status == TaskResultStatus.FAILED
    assert result.is_finished is True
    (error,) = result.errors
    assert error.exception_class is ValueError
    assert error.traceback.endswith("ValueError: what happened\n")
    assert result.started_at == result.last_attempted_at == outcome.started_at
    assert result.finished_at == outcome.finished_at
    assert result.worker_ids == [worker.name]
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value


def test_a_failed_job_ended_when_it_failed_whatever_changed_its_row_later(worker):
    result = add.enqueue(1, 2)
    outcome = worker.fail(worker.claim_one())
    Job.objects.update(updated_at=timezone.now() + timedelta(days=1))

    result.refresh()

    assert result.finished_at == outcome.finished_at


def test_a_job_that_failed_twice_has_both_errors_and_both_workers(make_worker, make_ready_again):
    result = add.enqueue(1, 2)
    first, second = make_worker(name="first"), make_worker(name="second")
    begun = first.fail(first.claim_one(), "one")
    make_ready_again(result.id)
    ended = second.fail(second.claim_one(), "two")

    result.refresh()

    assert result.status == TaskResultStatus.FAILED
    assert [error.traceback.splitlines()[-1] for error in result.errors] == [
        "ValueError: one",
        "ValueError: two",
    ]
    assert result.worker_ids == ["first", "second"]
    assert result.attempts == 2
    assert result.started_at == begun.started_at
    assert result.last_attempted_at == ended.started_at
    assert result.finished_at == ended.finished_at


def test_a_job_that_waits_for_its_second_attempt_keeps_its_history(worker, make_ready_again):
    result = add.enqueue(1, 2)
    first = worker.fail(worker.claim_one(), "one")
    make_ready_again(result.id)

    result.refresh()

    assert result.status == TaskResultStatus.READY
    assert result.finished_at is None
    assert len(result.errors) == 1
    assert result.started_at == result.last_attempted_at == first.started_at
    assert result.worker_ids == [worker.name]


def test_a_second_attempt_that_runs_is_counted(worker, make_ready_again):
    result = add.enqueue(1, 2)
    first = worker.fail(worker.claim_one(), "one")
    make_ready_again(result.id)
    job = worker.claim_one()

    result.refresh()

    assert result.status == TaskResultStatus.RUNNING
    assert result.attempts == 2
    assert result.started_at == job.first_started_at == first.started_at
    assert result.last_attempted_at == ClaimedExecution.objects.get().started_at
    assert result.last_attempted_at > result.started_at
    assert len(result.errors) == 1


def test_a_job_that_ended_well_at_last_keeps_its_errors(worker, make_ready_again):
    result = add.enqueue(1, 2)
    worker.fail(worker.claim_one(), "one")
    make_ready_again(result.id)
    worker.succeed(worker.claim_one(), 3)

    result.refresh()

    assert result.status == TaskResultStatus.SUCCESSFUL
    assert result.return_value == 3
    assert len(result.errors) == 1
    assert result.attempts == 2


def test_an_error_without_a_message_is_an_error(worker):
    result = add.enqueue(1, 2)
    worker.fail(worker.claim_one(), "")

    result.refresh()

    assert result.status == TaskResultStatus.FAILED
    assert result.errors == [
        TaskError(
            exception_class_path="builtins.ValueError", traceback="Traceback ...\nValueError: \n"
        )
    ]


def test_a_finished_job_that_is_not_kept_does_not_exist(make_worker):
    worker = make_worker(preserve_finished_jobs=False)
    result = add.enqueue(1, 2)
    worker.succeed(worker.claim_one(), 3)

    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()


def test_refresh_changes_the_result_in_place_and_arefresh_does_the_same(worker):
    one, two = add.enqueue(1, 2), add.enqueue(3, 4)
    same = one
    for job in worker.claim(2):
        worker.succeed(job, "done")

    one.refresh()
    async_to_sync(two.arefresh)()

    assert same.return_value == one.return_value == two.return_value == "done"
    assert two == default_task_backend.get_result(two.id)


def test_a_result_stays_readable_when_its_queue_is_no_longer_allowed(use_tasks):
    result = add.using(queue_name="reports", priority=5).enqueue(1, 2)
    use_tasks(queues=["default"], default={})

    again = default_task_backend.get_result(result.id)

    assert again == result
    assert again.task.queue_name == "reports"


def test_the_task_of_a_result_can_be_enqueued_again():
    result = catalogue.echo.using(queue_name="mail", priority=3).enqueue(1, x=2)

    task = default_task_backend.get_result(result.id).task
    again = task.enqueue(*result.args, **result.kwargs)

    assert isinstance(task, Task)
    assert again.id != result.id
    assert (again.task, again.args, again.kwargs) == (result.task, result.args, result.kwargs)


def test_results_are_read_on_the_callers_connection_and_in_its_transaction():
    from django.db import transaction

    with transaction.atomic():
        result = add.enqueue(1, 2)
        assert default_task_backend.get_result(result.id) == result
        transaction.set_rollback(True)

    with pytest.raises(TaskResultDoesNotExist):
        default_task_backend.get_result(result.id)
    assert connection.get_autocommit()
