"""One attempt of a job that behaves: its call, its context, its outcome."""

from datetime import UTC, datetime, timedelta

import pytest
from django.tasks import TaskResultStatus
from django.utils import timezone

from dj_queue.models import ClaimedExecution, FailedExecution, Job, Pause
from dj_queue.states import JobState
from tests.site import catalogue, poison
from tests.site.tasks import add


def test_a_job_that_ends_well_has_its_value_and_its_times(trial):
    result = trial.enqueue_and_run(add, 1, 2)

    assert result.status == TaskResultStatus.SUCCESSFUL
    assert result.return_value == 3
    assert result.enqueued_at <= result.started_at <= result.finished_at
    assert result.last_attempted_at == result.started_at
    assert result.worker_ids == [trial.worker.name]
    assert result.errors == []
    assert Job.objects.get().status is JobState.FINISHED
    assert not ClaimedExecution.objects.exists()


def test_an_async_job_that_ends_well_has_its_value(trial):
    result = trial.enqueue_and_arun(poison.add_async, 1, 2)

    assert result.return_value == 3
    assert result.worker_ids == [trial.worker.name]


def test_an_async_job_runs_in_a_thread_too(trial):
    assert trial.enqueue_and_run(poison.add_async, 1, 2).return_value == 3


def test_a_plain_job_runs_on_a_loop_too(trial):
    assert trial.enqueue_and_arun(add, 1, 2).return_value == 3


def test_positional_and_keyword_arguments_arrive(trial):
    result = trial.enqueue_and_run(catalogue.echo, 1, [2], key={"a": None})

    assert result.return_value == {"args": [1, [2]], "kwargs": {"key": {"a": None}}}


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        "",
        [],
        {},
        False,
        1e300,
        -0.5,
        "Zoë \N{GRINNING FACE}\n",
        {"b": [1, {"a": None}]},
        [2**63 - 1],
        "x" * 100_000,
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_returned_comes_back_from_the_database(trial, value):
    result = trial.enqueue_and_run(catalogue.echo, value)

    assert result.return_value == {"args": [value], "kwargs": {}}


def test_none_is_stored_as_no_value(trial):
    result = trial.enqueue_and_run(poison.write_a_pause)

    assert result.status == TaskResultStatus.SUCCESSFUL
    assert result.return_value is None
    assert Job.objects.filter(return_value__isnull=True).count() == 1


def test_times_are_told_by_the_databases_clock(trial):
    add.enqueue(1, 2)
    job = trial.worker.claim_one()
    trial.worker.clock.set(datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC))

    outcome = trial.run(job)

    assert outcome.started_at - datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC) < timedelta(seconds=30)
    assert outcome.started_at.year == outcome.finished_at.year == 2031
    assert outcome.started_at <= outcome.finished_at


@pytest.mark.parametrize(
    ("task", "way"),
    [
        (catalogue.read_context, "enqueue_and_run"),
        (catalogue.read_context_async, "enqueue_and_arun"),
    ],
)
def test_a_task_that_takes_the_context_gets_the_first_attempt(trial, task, way):
    result = getattr(trial, way)(task)

    assert result.return_value["attempt"] == 1
    assert result.return_value["worker_ids"] == [trial.worker.name]


def test_the_context_shows_the_job_that_runs(trial):
    result = trial.enqueue_and_run(catalogue.read_context, "x", 1)

    assert result.return_value == {
        "attempt": 1,
        "id": result.id,
        "status": "RUNNING",
        "worker_ids": [trial.worker.name],
        "args": ["x", 1],
    }


def test_a_job_with_an_earlier_worker_is_in_its_second_attempt(
    trial, make_worker, make_ready_again
):
    result = catalogue.read_context.enqueue()
    earlier = make_worker(name="earlier")
    earlier.fail(earlier.claim_one(), "first")
    make_ready_again(result.id)

    trial.finish(result)

    assert result.return_value["attempt"] == 2
    assert result.return_value["worker_ids"] == ["earlier", trial.worker.name]
    assert result.attempts == 2
    assert len(result.errors) == 1


def test_a_job_without_the_context_gets_its_arguments_alone(trial):
    assert trial.enqueue_and_run(catalogue.echo).return_value == {"args": [], "kwargs": {}}


def test_an_error_is_recorded_with_its_class_message_and_traceback(trial):
    before = timezone.now() - timedelta(minutes=1)

    result = trial.enqueue_and_run(catalogue.fail, "what went wrong")

    assert result.status == TaskResultStatus.FAILED
    (error,) = result.errors
    assert error.exception_class is ValueError
    assert error.traceback.startswith("Traceback (most recent call last):")
    assert "tests/site/catalogue.py" in error.traceback
    assert error.traceback.endswith("ValueError: what went wrong\n")
    failure = FailedExecution.objects.get()
    assert failure.exception_class == "builtins.ValueError"
    assert failure.message == "what went wrong"
    assert failure.traceback == error.traceback
    (recorded,) = Job.objects.get().errors
    assert recorded["message"] == "what went wrong"
    assert datetime.fromisoformat(recorded["failed_at"]) == failure.created_at > before


def test_a_job_that_fails_again_has_both_errors(trial, make_ready_again):
    result = trial.enqueue_and_run(catalogue.fail, "always")
    make_ready_again(result.id)

    trial.finish(result)

    assert [error.exception_class for error in result.errors] == [ValueError, ValueError]
    assert result.attempts == 2


def test_what_a_job_wrote_stays(trial):
    trial.enqueue_and_run(poison.write_a_pause, "kept")

    assert Pause.objects.get().queue_name == "kept"


def test_what_a_job_wrote_in_a_block_that_failed_does_not(trial):
    result = trial.enqueue_and_run(poison.write_and_fail)

    assert result.errors[0].exception_class is ValueError
    assert not Pause.objects.exists()


def test_an_async_job_uses_the_database(trial):
    trial.enqueue_and_arun(poison.write_a_pause_async, "kept")

    assert trial.enqueue_and_arun(poison.count_pauses_async).return_value == 1


def test_connections_stay_open_from_job_to_job(trial):
    from django.db import connection

    trial.enqueue_and_run(poison.count_pauses)
    first = trial.in_thread(lambda: connection.connection)
    trial.enqueue_and_run(poison.count_pauses)

    assert first is not None
    assert trial.in_thread(lambda: connection.connection) is first


def test_statements_do_not_pile_up_under_debug(trial, settings):
    from django.db import connection

    settings.DEBUG = True
    for _ in range(3):
        trial.enqueue_and_run(poison.count_pauses)

    assert trial.in_thread(lambda: len(connection.queries_log)) == 0
