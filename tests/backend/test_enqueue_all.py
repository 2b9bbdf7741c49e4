"""Enqueue many jobs: all or none, in order, with few statements."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import DatabaseError, connection, transaction
from django.tasks import default_task_backend, task_backends
from django.tasks.exceptions import InvalidTask
from django.utils import timezone

from dj_queue.exceptions import EnqueueError
from dj_queue.models import Job, ReadyExecution, ScheduledExecution
from dj_queue.store.base import ROWS_PER_STATEMENT
from tests.backend.undoing import rolled_back
from tests.site import catalogue
from tests.site.tasks import add


def calls(count: int, task=add) -> list:
    return [(task, (number, 1), {}) for number in range(count)]


def enqueue_all(way: str, task_calls, backend: str = "default"):
    if way == "enqueue_all":
        return task_backends[backend].enqueue_all(task_calls)
    return async_to_sync(task_backends[backend].aenqueue_all)(task_calls)


both_ways = pytest.mark.parametrize("way", ["enqueue_all", "aenqueue_all"])


@both_ways
def test_results_come_in_the_order_of_the_calls(way):
    results = enqueue_all(way, calls(50))

    assert [result.args for result in results] == [[number, 1] for number in range(50)]
    assert [result.id for result in results] == sorted(result.id for result in results)
    assert {str(job_id) for job_id in Job.objects.values_list("id", flat=True)} == {
        result.id for result in results
    }


@both_ways
def test_jobs_are_ready_in_the_order_of_the_calls(way):
    results = enqueue_all(way, calls(50))

    ready = ReadyExecution.objects.order_by("id").values_list("job_id", flat=True)
    assert [str(job_id) for job_id in ready] == [result.id for result in results]


def test_jobs_are_claimed_in_the_order_of_the_calls(worker):
    results = default_task_backend.enqueue_all(calls(20))

    assert [str(job.id) for job in worker.claim(20)] == [result.id for result in results]


@both_ways
def test_nothing_to_enqueue_is_nothing_done(way, count_statements):
    with count_statements() as statements:
        assert enqueue_all(way, []) == []

    assert len(statements) == 0


@both_ways
def test_calls_may_come_from_a_generator(way):
    def generate() -> Iterator:
        yield add, (1, 2), {}
        yield catalogue.echo, [], {"key": "value"}

    results = enqueue_all(way, generate())

    assert [result.task for result in results] == [add, catalogue.echo]
    assert results[1].kwargs == {"key": "value"}


def test_one_call_is_enough():
    (result,) = default_task_backend.enqueue_all(calls(1))

    assert result == default_task_backend.get_result(result.id)


def test_every_result_equals_the_one_that_is_read_later():
    later = timezone.now() + timedelta(days=1)
    given = [
        (add, (1, 2), {}),
        (catalogue.send_mail, ("a@example.org",), {}),
        (catalogue.echo.using(priority=-7, queue_name="slow"), (), {"x": [1.5, None, "é"]}),
        (catalogue.echo_async, (), {}),
        (add.using(run_after=later), (1e300, 1), {}),
    ]

    results = default_task_backend.enqueue_all(given)

    assert results == [default_task_backend.get_result(result.id) for result in results]


def test_ready_and_scheduled_jobs_may_be_mixed():
    now = timezone.now()
    after = [None, now + timedelta(days=2), now - timedelta(days=1), now + timedelta(days=1)]

    results = default_task_backend.enqueue_all(
        [(add.using(run_after=moment), (1, 2), {}) for moment in after]
    )

    ready = ReadyExecution.objects.order_by("id").values_list("job_id", flat=True)
    assert [str(job_id) for job_id in ready] == [results[0].id, results[2].id]
    scheduled = dict(ScheduledExecution.objects.values_list("job_id", "scheduled_at"))
    assert {str(job_id): moment for job_id, moment in scheduled.items()} == {
        results[1].id: after[1],
        results[3].id: after[3],
    }


def test_jobs_of_one_call_are_enqueued_at_one_moment():
    results = default_task_backend.enqueue_all(calls(ROWS_PER_STATEMENT + 5))

    assert len({result.enqueued_at for result in results}) == 1
    assert Job.objects.values("created_at").distinct().count() == 1


@both_ways
@pytest.mark.parametrize("place", [0, 3, 9])
def test_one_bad_call_and_none_is_enqueued(way, place):
    given = calls(10)
    given[place] = (add, (1, object()), {})

    with pytest.raises(EnqueueError, match=r"^args\[1\] is of type builtins.object"):
        enqueue_all(way, given)

    assert not Job.objects.exists()


@both_ways
def test_one_invalid_task_and_none_is_enqueued(way, use_tasks):
    task = add.using(queue_name="reports")
    use_tasks(queues=["default"], default={})

    with pytest.raises(InvalidTask):
        enqueue_all(way, [*calls(3), (task, (1, 2), {})])

    assert not Job.objects.exists()


def test_a_database_that_refuses_one_job_gets_none(monkeypatch):
    """The second job has the id of the first."""
    from dj_queue.ids import new_job_ids
    from dj_queue.operations import enqueue

    monkeypatch.setattr(enqueue, "new_job_ids", lambda count: new_job_ids(1) * count)

    with pytest.raises(DatabaseError):
        default_task_backend.enqueue_all(calls(3))

    assert not Job.objects.exists()
    assert not ReadyExecution.objects.exists()


def test_more_jobs_than_one_statement_takes_are_all_or_none_too():
    given = calls(ROWS_PER_STATEMENT + 1)

    results = default_task_backend.enqueue_all(given)

    assert Job.objects.count() == ReadyExecution.objects.count() == len(given)
    assert [result.args[0] for result in results] == list(range(len(given)))


def test_a_failure_in_a_later_statement_undoes_the_earlier_ones(monkeypatch):
    from dj_queue.ids import new_job_ids
    from dj_queue.operations import enqueue

    monkeypatch.setattr(
        enqueue,
        "new_job_ids",
        lambda count: [*(made := new_job_ids(count - 1)), made[-1]],
    )

    with pytest.raises(DatabaseError):
        default_task_backend.enqueue_all(calls(ROWS_PER_STATEMENT + 1))

    assert not Job.objects.exists()
    assert not ReadyExecution.objects.exists()


def test_a_rollback_takes_all_jobs_with_it():
    with rolled_back():
        default_task_backend.enqueue_all(calls(10))
        assert Job.objects.count() == 10

    assert not Job.objects.exists()
    assert not ReadyExecution.objects.exists()


def test_the_number_of_statements_does_not_depend_on_the_number_of_jobs(count_statements):
    def statements_for(count: int) -> int:
        # A queue of its own, so that each call announces its jobs.
        task = add.using(queue_name=f"many_{count}")
        with count_statements() as statements:
            default_task_backend.enqueue_all(calls(count, task))
        return len(statements)

    assert statements_for(500) == statements_for(2) <= 6
    assert Job.objects.count() == 502


def test_the_number_of_statements_does_not_depend_on_the_number_of_tasks(count_statements):
    def statements_for(count: int) -> int:
        tasks = [
            add.using(queue_name="many_tasks", priority=number % 100) for number in range(count)
        ]
        with transaction.atomic(), count_statements() as statements:
            default_task_backend.enqueue_all([(task, (1, 2), {}) for task in tasks])
        return len(statements)

    assert statements_for(300) == statements_for(3)


def test_each_further_thousand_costs_the_same(count_statements):
    def statements_for(count: int, queue: str) -> int:
        task = add.using(queue_name=queue)
        with transaction.atomic(), count_statements() as statements:
            default_task_backend.enqueue_all(calls(count, task))
        return len(statements)

    two = statements_for(2 * ROWS_PER_STATEMENT, "two_thousand")
    three = statements_for(3 * ROWS_PER_STATEMENT, "three_thousand")

    assert three - two <= 2


def test_a_task_is_validated_once_however_often_it_is_called(monkeypatch):
    backend = default_task_backend
    validated = []
    validate = type(task_backends["default"]).validate_task
    monkeypatch.setattr(
        type(task_backends["default"]),
        "validate_task",
        lambda self, task: validated.append(task) or validate(self, task),
    )

    backend.enqueue_all([*calls(10), *calls(10, catalogue.echo), *calls(10)])

    assert validated == [add, catalogue.echo]


def test_all_jobs_are_of_the_backend_that_was_asked(use_tasks):
    use_tasks(default={}, second={})
    assert add.backend == "default"

    (result,) = task_backends["second"].enqueue_all(calls(1))

    assert Job.objects.get().backend_alias == ReadyExecution.objects.get().backend_alias == "second"
    assert result.backend == result.task.backend == "second"
    assert result == task_backends["second"].get_result(result.id)


def test_a_result_of_another_tasks_backend_can_be_refreshed(use_tasks):
    use_tasks(default={}, second={})

    (result,) = task_backends["second"].enqueue_all(calls(1))
    result.refresh()

    assert result.id == str(Job.objects.get().id)


def test_a_task_is_validated_by_the_backend_that_was_asked(settings):
    from dj_queue.config import BACKEND_PATH

    settings.TASKS = {
        "default": {"BACKEND": BACKEND_PATH},
        "second": {"BACKEND": BACKEND_PATH, "QUEUES": ["mail"]},
    }

    with pytest.raises(InvalidTask, match="not valid for backend 'second'"):
        task_backends["second"].enqueue_all(calls(1))


def test_the_connection_is_left_as_it_was():
    default_task_backend.enqueue_all(calls(3))

    assert connection.in_atomic_block is False
    assert connection.get_autocommit() is True
