"""Django's signals around an attempt."""

import logging
import sys

import pytest
from django.db import connection
from django.tasks import TaskResultStatus
from django.tasks.signals import task_finished, task_started

from dj_queue.backend import DjQueueBackend
from dj_queue.models import Pause
from tests.site import catalogue, poison
from tests.site.tasks import add


def told_by_django(caplog) -> list[str]:
    """What Django's own receivers logged."""
    return [each.getMessage() for each in caplog.records if each.name == "django.tasks"]


@pytest.fixture
def received(receive) -> list:
    """`(signal, sender, result)` in the order in which they were sent."""
    found: list = []
    receive(
        task_started,
        lambda sender, task_result, **_: found.append(("started", sender, task_result)),
    )
    receive(
        task_finished,
        lambda sender, task_result, **_: found.append(("finished", sender, task_result)),
    )
    return found


both_ways = pytest.mark.parametrize("way", ["enqueue_and_run", "enqueue_and_arun"])


@both_ways
def test_a_job_that_ends_well_is_started_and_finished(trial, received, way):
    result = getattr(trial, way)(add, 1, 2)

    assert [(name, sender) for name, sender, _ in received] == [
        ("started", DjQueueBackend),
        ("finished", DjQueueBackend),
    ]
    started, finished = (each for _, _, each in received)
    assert started.id == finished.id == result.id
    assert started.status == TaskResultStatus.RUNNING
    assert started.started_at == started.last_attempted_at is not None
    assert started.finished_at is None
    assert started.worker_ids == [trial.worker.name]
    assert finished.status == TaskResultStatus.SUCCESSFUL
    assert finished.return_value == 3


@both_ways
def test_the_finished_result_is_the_one_that_is_read_later(trial, received, way):
    result = getattr(trial, way)(catalogue.echo.using(priority=5, queue_name="mail"), 1, x=[2])

    assert received[1][2] == result


@both_ways
def test_the_failed_result_is_the_one_that_is_read_later(trial, received, way):
    result = getattr(trial, way)(catalogue.fail, "no")

    _, _, finished = received[1]
    assert finished.status == TaskResultStatus.FAILED
    assert finished == result


@both_ways
@pytest.mark.parametrize(
    ("task", "error_class"),
    [
        (catalogue.fail, ValueError),
        (poison.exit_now, SystemExit),
        (poison.interrupt, KeyboardInterrupt),
        (poison.return_itself, TypeError),
    ],
    ids=["error", "exit", "interrupt", "value"],
)
def test_the_end_of_a_failed_job_is_told_while_its_error_is_handled(
    trial, receive, way, task, error_class
):
    handled: list = []
    receive(task_finished, lambda **_: handled.append(sys.exc_info()[0]))

    getattr(trial, way)(task)

    assert len(handled) == 1
    assert issubclass(handled[0], error_class)


@both_ways
def test_the_end_of_a_good_job_is_told_while_no_error_is_handled(trial, receive, way):
    handled: list = []
    receive(task_finished, lambda **_: handled.append(sys.exc_info()))

    getattr(trial, way)(add, 1, 2)

    assert handled == [(None, None, None)]


def test_each_job_sends_each_signal_once(trial, received):
    trial.enqueue_and_run(poison.return_nul)
    trial.enqueue_and_run(poison.leave_an_atomic_block)

    assert [name for name, _, _ in received] == ["started", "finished"] * 2
    assert {each.status for name, _, each in received if name == "finished"} == {
        TaskResultStatus.FAILED
    }


def test_a_leaked_transaction_is_told_as_a_failure(trial, received):
    trial.enqueue_and_run(poison.leave_an_atomic_block)

    (error,) = received[1][2].errors
    assert error.exception_class_path == "dj_queue.exceptions.TransactionLeaked"


def test_the_signals_of_a_second_attempt_have_both_workers(
    trial, received, make_worker, make_ready_again
):
    result = add.enqueue(1, 2)
    earlier = make_worker(name="earlier")
    earlier.fail(earlier.claim_one(), "first")
    make_ready_again(result.id)

    trial.finish(result)

    started, finished = (each for _, _, each in received)
    assert started.attempts == finished.attempts == 2
    assert len(started.errors) == len(finished.errors) == 1
    assert started.started_at < started.last_attempted_at
    assert finished == result


@both_ways
def test_receivers_that_fail_change_nothing_about_the_job(trial, receive, way):
    def fail(**_):
        raise ValueError("the receiver failed")

    receive(task_started, fail)
    receive(task_finished, fail)

    assert getattr(trial, way)(add, 1, 2).return_value == 3


def test_a_receiver_may_use_the_database_and_leave_it_in_disorder(trial, receive):
    def write(**_):
        connection.set_autocommit(False)
        Pause.objects.create(queue_name="by a receiver")

    receive(task_finished, write)
    trial.enqueue_and_run(add, 1, 2)

    assert trial.enqueue_and_run(poison.count_pauses).return_value == 0


@both_ways
@pytest.mark.parametrize(
    "signal",
    [task_started, task_finished],
    ids=["started", "finished"],
)
def test_a_receiver_that_exits_does_not_end_the_thread(trial, receive, signal, way):
    def leave(**_):
        sys.exit(4)

    receive(signal, leave)

    result = getattr(trial, way)(add, 1, 2)

    assert result.is_finished


@pytest.mark.parametrize("task", [poison.add_async, add], ids=["async", "plain"])
def test_receivers_of_an_async_job_may_use_the_database(trial, receive, task):
    def write(**_):
        Pause.objects.create(queue_name=f"receiver {Pause.objects.count()}")

    receive(task_started, write)
    receive(task_finished, write)

    result = trial.enqueue_and_arun(task, 1, 2)

    assert result.return_value == 3
    assert Pause.objects.count() == 2


@both_ways
def test_receivers_may_be_coroutines(trial, receive, way):
    heard: list = []

    async def hear(task_result, **_):
        heard.append(task_result.status)

    receive(task_started, hear)
    receive(task_finished, hear)

    result = getattr(trial, way)(poison.add_async, 1, 2)

    assert result.return_value == 3
    assert heard == [TaskResultStatus.RUNNING, TaskResultStatus.SUCCESSFUL]


@both_ways
def test_django_logs_the_start_and_the_end(trial, caplog, way):
    with caplog.at_level(logging.INFO, "django.tasks"):
        result = getattr(trial, way)(add, 1, 2)

    path = "tests.site.tasks.add"
    assert told_by_django(caplog) == [
        f"Task id={result.id} path={path} state=RUNNING",
        f"Task id={result.id} path={path} state=SUCCESSFUL",
    ]
    assert [each.exc_info for each in caplog.records if each.name == "django.tasks"] == [None, None]


@both_ways
def test_django_logs_a_failure_with_its_traceback(trial, caplog, way):
    with caplog.at_level(logging.INFO, "django.tasks"):
        getattr(trial, way)(catalogue.fail, "no")

    record = [each for each in caplog.records if each.name == "django.tasks"][-1]
    assert record.levelno == logging.ERROR
    assert record.message.endswith("state=FAILED")
    assert record.exc_info[0] is ValueError


def test_receivers_are_told_at_any_level_of_the_log(trial, received, caplog):
    with caplog.at_level(logging.CRITICAL, "django.tasks"):
        trial.enqueue_and_run(add, 1, 2)

    assert len(received) == 2


def test_arguments_that_a_task_changes_are_told_as_they_were_given(trial, received):
    given = [1, 2]

    result = trial.enqueue_and_run(catalogue.empty_a_list, given)

    assert received[1][2].args == result.args == [[1, 2]]
