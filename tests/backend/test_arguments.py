"""Rich arguments through the database: stored, restored for the job, shown in results."""

from datetime import timedelta
from uuid import UUID

import pytest
from django.tasks import TaskResultStatus, default_task_backend
from django.utils import timezone

from dj_queue.arguments import Missing
from dj_queue.exceptions import EnqueueError, PayloadError
from dj_queue.models import Job, Pause, Process
from tests.runtime_units.conftest import Trial
from tests.site import rich_tasks
from tests.site.rich_tasks import VALUES, Colour


@pytest.fixture
def rich(use_tasks):
    use_tasks(default={"rich_arguments": True})


@pytest.fixture
def trial(worker):
    trial = Trial(worker)
    yield trial
    trial.close()


@pytest.fixture
def pause():
    return Pause.objects.create(backend_alias="default", queue_name="mail")


def fresh(result):
    """The result as somebody else reads it."""
    return default_task_backend.get_result(result.id)


def test_rich_values_arrive_in_the_task_and_in_every_result(rich, trial):
    result = rich_tasks.describe.enqueue(*VALUES, named={"all": VALUES})
    assert result.args == VALUES
    assert fresh(result).args == VALUES
    assert fresh(result).kwargs == {"named": {"all": VALUES}}

    trial.finish(result)

    assert result.return_value == [repr(tuple(VALUES)), repr({"named": {"all": VALUES}})]


@pytest.mark.parametrize("way", ["run", "arun"])
@pytest.mark.parametrize("task", [rich_tasks.give_back, rich_tasks.give_back_async])
def test_rich_values_are_returned(rich, trial, task, way):
    value = {"deep": [VALUES, {"$dj_queue": "uuid"}]}

    result = trial.finish(task.enqueue(value), getattr(trial, way))

    assert result.return_value == value


def test_the_context_shows_rich_values(rich, trial):
    result = trial.enqueue_and_run(rich_tasks.give_back_from_context, Colour.RED)

    assert result.return_value == [Colour.RED, Colour.RED]


@pytest.mark.parametrize("way", ["run", "arun"])
@pytest.mark.parametrize("task", [rich_tasks.queue_of, rich_tasks.queue_of_async])
def test_an_instance_is_fetched_when_the_job_runs(rich, trial, pause, task, way):
    result = task.enqueue(pause)
    Pause.objects.update(queue_name="changed")

    trial.finish(result, getattr(trial, way))

    assert result.return_value == "changed"


def test_an_instance_that_is_gone_fails_the_job_and_says_which(rich, trial, pause):
    result = rich_tasks.queue_of.enqueue({"deep": [pause]})
    key = pause.pk
    pause.delete()

    trial.finish(result)

    assert result.status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class_path == "dj_queue.exceptions.DeserializationError"
    told = f"dj_queue.pause with the primary key {key} on the database 'default' does not exist any more"
    assert f"DeserializationError: args[0]: {told}" in result.errors[0].traceback
    assert fresh(result).args == [{"deep": [Missing(told)]}]


def test_instances_are_fetched_with_one_query_for_each_model(rich, count_statements):
    pauses = [Pause.objects.create(queue_name=f"q{n}") for n in range(30)]
    process = Process.objects.create(kind="Worker", pid=1, hostname="h", name="n")
    result = rich_tasks.describe.enqueue(*pauses, process=process)

    with count_statements() as statements:
        found = fresh(result)

    assert found.args == pauses
    assert found.kwargs == {"process": process}
    assert len(statements) == 3


def test_an_instance_is_returned_by_its_key(rich, trial, pause):
    result = trial.enqueue_and_run(rich_tasks.give_back, [pause, pause.pk])

    assert result.return_value == [pause, pause.pk]
    assert isinstance(Job.objects.get().return_value, dict)


def test_an_instance_of_another_database_is_fetched_there(rich, trial, queue_database):
    pause = Pause.objects.using(queue_database).create(queue_name="there")

    result = trial.enqueue_and_run(rich_tasks.queue_of, pause)
    Pause.objects.using(queue_database).all().delete()

    assert result.return_value == "there"


def test_a_key_that_is_rich_itself_is_found(rich, trial):
    first = rich_tasks.describe.enqueue()
    trial.finish(first)
    job = Job.objects.get()

    result = rich_tasks.describe.enqueue(job)

    assert isinstance(job.pk, UUID)
    assert fresh(result).args == [job]


def test_without_the_option_the_error_names_it(pause):
    for value in (Colour.RED, pause, timezone.now()):
        with pytest.raises(PayloadError, match=r"OPTIONS\['rich_arguments'\] to True"):
            rich_tasks.describe.enqueue([value])

    assert not Job.objects.exists()


def test_without_the_option_a_return_value_fails_the_job_and_the_error_names_it(trial):
    result = trial.enqueue_and_run(rich_tasks.describe)
    assert result.status == TaskResultStatus.SUCCESSFUL

    result = trial.enqueue_and_run(rich_tasks.now)

    assert "OPTIONS['rich_arguments'] to True" in result.errors[0].traceback


def test_jobs_of_the_time_before_the_option_was_changed_are_run(trial, use_tasks):
    use_tasks(default={"rich_arguments": True})
    rich = rich_tasks.describe.enqueue(Colour.RED)
    use_tasks(default={"rich_arguments": False})

    trial.finish(rich)
    lookalike = trial.enqueue_and_run(rich_tasks.give_back, {"$dj_queue": "uuid", "value": "x"})
    use_tasks(default={"rich_arguments": True})

    assert rich.return_value == [repr((Colour.RED,)), "{}"]
    assert fresh(rich).args == [Colour.RED]
    assert fresh(lookalike).args == [{"$dj_queue": "uuid", "value": "x"}]
    assert fresh(lookalike).return_value == {"$dj_queue": "uuid", "value": "x"}


def test_a_delay_counts_from_the_enqueue():
    later = rich_tasks.describe.using(run_after=timedelta(hours=1))
    before = timezone.now()

    one = later.enqueue()
    two, three = default_task_backend.enqueue_all([(later, [], {}), (rich_tasks.describe, [], {})])

    for result in (one, two):
        job = Job.objects.get(id=result.id)
        assert (
            before + timedelta(hours=1) <= job.scheduled_at <= timezone.now() + timedelta(hours=1)
        )
        assert job.scheduled
        assert result.task.run_after == job.scheduled_at
    assert Job.objects.get(id=three.id).ready


def test_a_delay_that_is_over_is_none():
    result = rich_tasks.describe.using(run_after=timedelta(seconds=-5)).enqueue()

    assert Job.objects.get(id=result.id).ready


def test_a_delay_beyond_the_calendar_is_refused():
    with pytest.raises(EnqueueError, match=r"run_after is .* too far away"):
        rich_tasks.describe.using(run_after=timedelta.max)


def test_a_delay_works_with_local_times(local_times):
    result = rich_tasks.describe.using(run_after=timedelta(hours=1)).enqueue()

    seconds = (Job.objects.get(id=result.id).scheduled_at - timezone.now()).total_seconds()
    assert 3500 < seconds <= 3600
