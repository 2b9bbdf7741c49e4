"""Enqueue one job: what comes back, what is stored, and what is refused."""

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, models
from django.tasks import TaskResultStatus, default_task_backend, task_backends
from django.tasks.exceptions import InvalidTask
from django.utils import timezone

from dj_queue.backend import DjQueueBackend
from dj_queue.exceptions import EnqueueError, InvalidEnqueue, PayloadError
from dj_queue.models import Job, ReadyExecution, ScheduledExecution
from dj_queue.states import Executor, JobState
from tests.site import catalogue
from tests.site.tasks import add


class Queue(models.TextChoices):
    MAIL = "mail"


class Urgency(models.IntegerChoices):
    HIGH = 50


def enqueue_either_way(way: str, task, *args, **kwargs):
    if way == "enqueue":
        return task.enqueue(*args, **kwargs)
    return async_to_sync(task.aenqueue)(*args, **kwargs)


both_ways = pytest.mark.parametrize("way", ["enqueue", "aenqueue"])


def test_the_backend_says_what_it_can_do():
    backend = task_backends["default"]

    assert isinstance(backend, DjQueueBackend)
    assert default_task_backend.supports_defer is True
    assert backend.supports_async_task is True
    assert backend.supports_get_result is True
    assert backend.supports_priority is True


@both_ways
def test_a_new_result_is_ready_and_knows_its_call(way):
    before = timezone.now() - timedelta(minutes=1)

    result = enqueue_either_way(way, catalogue.echo, 1, "two", key=[3])

    assert result.status == TaskResultStatus.READY
    assert result.is_finished is False
    assert UUID(result.id).version == 7
    assert result.task == catalogue.echo
    assert result.args == [1, "two"]
    assert result.kwargs == {"key": [3]}
    assert result.backend == "default"
    assert before < result.enqueued_at < timezone.now() + timedelta(minutes=1)
    assert result.started_at is result.finished_at is result.last_attempted_at is None
    assert result.errors == result.worker_ids == []
    assert result.attempts == 0
    with pytest.raises(ValueError, match="Task has not finished yet"):
        _ = result.return_value


@both_ways
def test_a_job_is_written_at_once_and_is_ready(way):
    result = enqueue_either_way(way, add, 1, 2)

    job = Job.objects.get()
    assert str(job.id) == result.id
    assert job.task_path == "tests.site.tasks.add"
    assert job.payload == {"args": [1, 2], "kwargs": {}}
    assert (job.queue_name, job.priority, job.backend_alias) == ("default", 0, "default")
    assert job.created_at == job.updated_at == result.enqueued_at
    assert job.status is JobState.READY
    row = ReadyExecution.objects.get()
    assert (row.job_id, row.queue_name, row.priority, row.backend_alias) == (
        job.id, "default", 0, "default",
    )  # fmt: skip


def test_what_a_task_asks_for_is_stored_with_the_job():
    catalogue.send_mail.enqueue("a@example.org")

    job, row = Job.objects.get(), ReadyExecution.objects.get()
    assert (job.queue_name, job.priority) == ("mail", 10)
    assert (row.queue_name, row.priority) == ("mail", 10)


@pytest.mark.parametrize("priority", [-100, -1, 0, 99, 100])
def test_priorities_from_minus_to_plus_a_hundred_are_stored(priority):
    result = catalogue.echo.using(priority=priority).enqueue()

    assert Job.objects.get().priority == ReadyExecution.objects.get().priority == priority
    assert result.task.priority == priority


def test_a_job_says_what_runs_it():
    plain, coroutine = catalogue.echo.enqueue(), catalogue.echo_async.enqueue()

    assert Job.objects.get(pk=plain.id).executor == Executor.THREAD
    assert Job.objects.get(pk=coroutine.id).executor == Executor.ASYNC
    assert ReadyExecution.objects.get(job_id=coroutine.id).executor == Executor.ASYNC


def test_queue_and_priority_may_be_choices_of_an_enumeration():
    result = catalogue.echo.using(queue_name=Queue.MAIL, priority=Urgency.HIGH).enqueue()

    job = Job.objects.get()
    assert (job.queue_name, job.priority) == ("mail", 50)
    assert result == default_task_backend.get_result(result.id)


def test_a_queue_name_of_64_characters_of_any_script_is_stored():
    name = "東" * 64

    result = catalogue.echo.using(queue_name=name).enqueue()

    assert ReadyExecution.objects.get().queue_name == name
    assert result == default_task_backend.get_result(result.id)


@both_ways
def test_a_time_to_come_makes_a_job_scheduled(way):
    later = timezone.now() + timedelta(hours=1)

    result = enqueue_either_way(way, add.using(run_after=later), 1, 2)

    job = Job.objects.get()
    assert job.status is JobState.SCHEDULED
    assert job.scheduled_at == ScheduledExecution.objects.get().scheduled_at == later
    assert result.status == TaskResultStatus.READY
    assert result.task.run_after == later
    assert not ReadyExecution.objects.exists()


def test_a_time_gone_by_makes_a_job_ready_and_is_kept():
    earlier = timezone.now() - timedelta(hours=1)

    result = add.using(run_after=earlier).enqueue(1, 2)

    assert Job.objects.get().status is JobState.READY
    assert Job.objects.get().scheduled_at == result.task.run_after == earlier
    assert not ScheduledExecution.objects.exists()


def test_a_time_in_any_zone_is_the_same_moment():
    moment = datetime(2099, 3, 28, 1, 30, 0, 123456, tzinfo=ZoneInfo("America/New_York"))

    result = add.using(run_after=moment).enqueue(1, 2)

    assert Job.objects.get().scheduled_at == moment.astimezone(UTC)
    assert result == default_task_backend.get_result(result.id)


@both_ways
@pytest.mark.parametrize(
    ("args", "kwargs", "place"),
    [
        ([object()], {}, "args[0] is of type builtins.object"),
        ([], {"when": datetime(2026, 1, 1, tzinfo=UTC)}, "kwargs['when'] is of type datetime"),
        ([float("nan")], {}, "args[0] is nan"),
        (["a\0b"], {}, "args[0] contains a NUL character"),
        ([], {"x": ["\ud800"]}, "kwargs['x'][0] contains a lone surrogate"),
        ([b"\xff"], {}, "args[0] is bytes that are not UTF-8"),
        ([{1: 2}], {}, "args[0] has the key 1 of type int"),
    ],
)
def test_arguments_that_cannot_be_stored_are_refused_and_nothing_is_written(
    way, args, kwargs, place
):
    with pytest.raises(EnqueueError) as caught:
        enqueue_either_way(way, catalogue.echo, *args, **kwargs)

    assert isinstance(caught.value, TypeError)
    assert str(caught.value).startswith(place)
    assert not Job.objects.exists()


def test_a_refusal_leaves_the_callers_transaction_usable():
    from django.db import transaction

    with transaction.atomic():
        with pytest.raises(PayloadError):
            add.enqueue(float("inf"), 1)
        add.enqueue(1, 2)

    assert Job.objects.count() == 1


def test_a_payload_above_the_limit_is_refused(use_tasks):
    use_tasks(default={"max_payload_bytes": 100})

    catalogue.echo.enqueue("x" * 50)
    with pytest.raises(EnqueueError, match=r"OPTIONS\['max_payload_bytes'\] allows 100"):
        catalogue.echo.enqueue("x" * 100)

    assert Job.objects.count() == 1


def test_the_limit_of_a_payload_counts_bytes(use_tasks):
    use_tasks(default={"max_payload_bytes": 100})

    with pytest.raises(EnqueueError, match="take 125 bytes"):
        catalogue.echo.enqueue("é" * 50)


def test_a_payload_of_a_megabyte_is_stored_by_default():
    text = "x" * (1_048_576 - 100)

    result = catalogue.echo.enqueue(text)

    assert default_task_backend.get_result(result.id).args == [text]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        2**63 - 1,
        -(2**63 - 1),
        0.1,
        1 / 3,
        -0.0,
        5e-324,
        1.7976931348623157e308,
        1e16,
        1.5e300,
        "",
        "Zoë, 東京, \N{GRINNING FACE}\n\t\x01\x7f\u2028\uffff",
        "1e+300",
        r"back\slash \u0000 \x00 ' \" ` %s %(x)s ; -- /*",
        "trailing space ",
        {"": 1, " ": {"$.a": [None]}, "é\N{GRINNING FACE}": 2, "b": 1, "a": 2},
        [[], {}, [[[]]]],
    ],
    ids=repr,
)
def test_arguments_come_back_from_the_database_as_they_went_in(value):
    result = catalogue.echo.enqueue(value, key=value)

    again = default_task_backend.get_result(result.id)
    assert again.args == [value]
    assert again.kwargs == {"key": value}
    assert type(again.args[0]) is type(value)
    assert again == result


def test_the_deepest_arguments_that_are_allowed_come_back():
    deepest: list = []
    for _ in range(26):
        deepest = [deepest]

    result = catalogue.echo.enqueue(deepest)

    assert default_task_backend.get_result(result.id).args == [deepest]
    with pytest.raises(EnqueueError, match="levels deep"):
        catalogue.echo.enqueue([deepest])


def test_relatives_of_json_types_are_plain_in_the_result_at_once():
    result = catalogue.echo.enqueue((1, (2,)), b"text", Queue.MAIL, x=range(2))

    assert result.args == [[1, [2]], "text", "mail"]
    assert result.kwargs == {"x": [0, 1]}
    assert result == default_task_backend.get_result(result.id)


def test_later_changes_of_the_callers_objects_reach_neither_job_nor_result():
    given = {"list": [1]}

    result = catalogue.echo.enqueue(given)
    given["list"].append(2)

    assert result.args == [{"list": [1]}]
    assert Job.objects.get().payload["args"] == [{"list": [1]}]


def test_wrong_arguments_for_the_function_are_not_looked_at():
    """Django does not either: the function may have changed when the job runs."""
    result = add.enqueue("only one")

    assert result.status == TaskResultStatus.READY


@pytest.mark.parametrize("priority", [101, -101, 1.5, 1.0, "1", float("inf")], ids=repr)
def test_a_wrong_priority_is_refused_by_one_error_that_is_both(priority):
    with pytest.raises(InvalidEnqueue, match=r"^priority must be a whole number") as caught:
        catalogue.echo.using(priority=priority)

    assert isinstance(caught.value, EnqueueError)
    assert isinstance(caught.value, InvalidTask)
    assert repr(priority) in str(caught.value)


@pytest.mark.parametrize("name", ["", "x" * 65, "a\0b", "\ud800", 5, b"mail", ["mail"]], ids=repr)
def test_a_queue_name_that_cannot_be_stored_is_refused_by_one_error_that_is_both(name):
    with pytest.raises(InvalidEnqueue, match=r"^queue_name must be text of 1 to 64") as caught:
        catalogue.echo.using(queue_name=name)

    assert isinstance(caught.value, EnqueueError)
    assert isinstance(caught.value, InvalidTask)


def test_a_queue_that_is_not_in_the_list_is_refused_by_one_error_that_is_both(use_tasks):
    use_tasks(queues=["mail", "default"], default={})

    with pytest.raises(InvalidEnqueue) as caught:
        catalogue.echo.using(queue_name="reports")

    assert str(caught.value) == (
        "Queue 'reports' is not valid for backend 'default': "
        "TASKS['default']['QUEUES'] has 'default', 'mail'"
    )
    assert isinstance(caught.value, EnqueueError)
    assert isinstance(caught.value, InvalidTask)
    assert catalogue.echo.using(queue_name="mail").enqueue().task.queue_name == "mail"


@pytest.mark.parametrize("queues", [None, [], (), set()], ids=repr)
def test_without_a_list_of_queues_every_name_is_allowed(settings, queues):
    from dj_queue.config import BACKEND_PATH

    settings.TASKS = {"default": {"BACKEND": BACKEND_PATH, "QUEUES": queues}}
    result = catalogue.echo.using(queue_name="anything at all").enqueue()

    assert result.task.queue_name == "anything at all"


def test_a_missing_list_of_queues_allows_every_name(use_tasks):
    use_tasks(default={})

    assert task_backends["default"].queues == set()
    assert catalogue.echo.using(queue_name="anything").enqueue().status == TaskResultStatus.READY


@both_ways
def test_a_task_is_validated_again_when_it_is_enqueued(way, use_tasks):
    """It may have been made under other settings."""
    task = catalogue.echo.using(queue_name="reports")
    use_tasks(queues=["default"], default={})

    with pytest.raises(InvalidTask):
        enqueue_either_way(way, task)

    assert not Job.objects.exists()


def test_a_function_inside_a_function_is_no_task():
    from django.tasks import task

    def inner():
        """Cannot be found by its path."""

    with pytest.raises(InvalidTask, match="must be defined at a module level"):
        task(inner)


def test_a_task_that_takes_the_context_has_an_argument_for_it():
    from django.tasks import task

    for function in (catalogue.not_a_task, catalogue.send_mail.func):
        with pytest.raises(InvalidTask, match="first argument of 'context'"):
            task(takes_context=True)(function)
    assert catalogue.read_context.takes_context


def test_run_after_must_be_aware():
    with pytest.raises(InvalidTask, match="must be an aware datetime"):
        add.using(run_after=datetime(2099, 1, 1))  # noqa: DTZ001


def test_settings_are_parsed_once_and_not_per_job(use_tasks, monkeypatch):
    from dj_queue import config

    loads = []
    load = config.load_backend_config
    monkeypatch.setattr(
        config, "load_backend_config", lambda alias: loads.append(alias) or load(alias)
    )
    use_tasks(default={})

    for _ in range(5):
        result = add.enqueue(1, 2)
        result.refresh()

    assert loads == ["default"]


@pytest.mark.parametrize("hours", [None, 1], ids=["ready", "scheduled"])
def test_one_enqueue_is_one_statement_on_postgres_and_a_short_transaction_elsewhere(
    count_statements, vendor, hours
):
    run_after = timezone.now() + timedelta(hours=hours) if hours else None
    # A queue of its own, so that no other test has used up the announcements of this moment.
    task = add.using(queue_name=f"counted_{hours}", run_after=run_after)
    wrapped: list[str] = []

    def note(execute, sql, params, many, context):
        wrapped.append(sql)
        return execute(sql, params, many, context)

    with count_statements() as statements, connection.execute_wrapper(note):
        task.enqueue(1, 2)

    if vendor == "postgresql":
        assert len(statements) == len(wrapped) == 1
        assert "dj_queue_jobs" in wrapped[0]
        assert "dj_queue_ready_executions" in wrapped[0]
    else:
        assert 0 < len(wrapped) <= 3
        assert len(statements) <= 5


def test_arguments_are_not_in_the_way_of_placeholders():
    result = catalogue.echo.enqueue("%s %(name)s %%", **{"100%": "?"})

    again = default_task_backend.get_result(result.id)
    assert again.args == ["%s %(name)s %%"]
    assert again.kwargs == {"100%": "?"}
