"""Jobs take part in the caller's transaction, and the runtime of this process hears of them after it."""

import threading
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, connections, transaction
from django.tasks import default_task_backend
from django.utils import timezone

from dj_queue.events import JobsReady, JobsScheduled
from dj_queue.models import Job, Pause, ReadyExecution, ScheduledExecution
from tests.backend.undoing import rolled_back
from tests.site import catalogue
from tests.site.tasks import add


def in_hours(count: int):
    return timezone.now() + timedelta(hours=count)


def seen_by_others() -> int:
    """How many jobs another connection sees."""
    counts: list[int] = []

    def count() -> None:
        try:
            counts.append(Job.objects.count())
        finally:
            connections.close_all()

    thread = threading.Thread(target=count)
    thread.start()
    thread.join(20)
    return counts[0]


def test_a_job_is_visible_to_others_as_soon_as_enqueue_returns():
    add.enqueue(1, 2)

    assert seen_by_others() == 1


def test_a_job_enqueued_in_a_transaction_is_visible_to_others_after_it():
    with transaction.atomic():
        add.enqueue(1, 2)
        assert seen_by_others() == 0

    assert seen_by_others() == 1


@pytest.mark.parametrize("run_after_hours", [None, 1])
def test_a_rollback_leaves_nothing(run_after_hours):
    task = add.using(run_after=in_hours(1)) if run_after_hours else add

    with rolled_back():
        task.enqueue(1, 2)

    assert not Job.objects.exists()
    assert not ReadyExecution.objects.exists()
    assert not ScheduledExecution.objects.exists()


def test_a_rollback_to_a_savepoint_leaves_what_was_before_it():
    with transaction.atomic():
        kept = add.enqueue(1, 2)
        with rolled_back():
            add.enqueue(3, 4)

    assert str(Job.objects.get().id) == kept.id
    assert str(ReadyExecution.objects.get().job_id) == kept.id


def test_aenqueue_takes_part_in_the_transaction_around_async_to_sync():
    with rolled_back():
        async_to_sync(add.aenqueue)(1, 2)
        assert Job.objects.count() == 1

    assert not Job.objects.exists()


def test_enqueue_works_where_the_caller_manages_transactions_by_hand(heard):
    heard(JobsReady)
    connection.set_autocommit(False)
    try:
        # SQLite takes a savepoint, which Django makes for the job, for a transaction if it comes first.
        Pause.objects.create(queue_name="written before")
        add.enqueue(1, 2)
        default_task_backend.enqueue_all([(add, (1, 2), {}), (catalogue.echo, (), {})])
        add.using(run_after=in_hours(1)).enqueue(1, 2)
        assert Job.objects.count() == 4
    finally:
        connection.rollback()
        connection.set_autocommit(True)

    assert not Job.objects.exists()


def test_the_runtime_hears_of_a_job_at_once_when_there_is_no_transaction(heard):
    ready = heard(JobsReady)

    catalogue.send_mail.enqueue("a@example.org")

    assert ready == [JobsReady("default", "default", ("mail",))]


def test_the_runtime_hears_of_a_job_only_after_the_commit(heard):
    ready = heard(JobsReady)

    with transaction.atomic():
        with transaction.atomic():
            catalogue.send_mail.enqueue("a@example.org")
        assert ready == []

    assert ready == [JobsReady("default", "default", ("mail",))]


def test_the_runtime_hears_nothing_of_a_job_that_was_rolled_back(heard):
    ready, scheduled = heard(JobsReady), heard(JobsScheduled)

    with rolled_back():
        add.enqueue(1, 2)
        add.using(run_after=in_hours(1)).enqueue(1, 2)

    assert ready == scheduled == []


def test_a_job_with_its_time_to_come_is_told_as_scheduled(heard):
    ready, scheduled = heard(JobsReady), heard(JobsScheduled)

    add.using(run_after=in_hours(1)).enqueue(1, 2)

    assert ready == []
    assert scheduled == [JobsScheduled("default", "default")]


def test_a_job_whose_time_has_come_is_told_as_ready(heard):
    ready, scheduled = heard(JobsReady), heard(JobsScheduled)

    add.using(run_after=in_hours(-1)).enqueue(1, 2)

    assert ready == [JobsReady("default", "default", ("default",))]
    assert scheduled == []


def test_many_jobs_are_told_once_with_the_queues_that_have_ready_ones(heard):
    ready, scheduled = heard(JobsReady), heard(JobsScheduled)

    default_task_backend.enqueue_all(
        [
            (add, (1, 2), {}),
            (catalogue.send_mail, ("a@example.org",), {}),
            (add, (3, 4), {}),
            (add.using(queue_name="tomorrow", run_after=in_hours(24)), (5, 6), {}),
        ]
    )

    assert ready == [JobsReady("default", "default", ("default", "mail"))]
    assert scheduled == [JobsScheduled("default", "default")]


def test_the_job_is_there_when_the_runtime_hears_of_it():
    from dj_queue import events

    counts: list[int] = []
    unsubscribe = events.subscribe(JobsReady, lambda event: counts.append(seen_by_others()))

    with transaction.atomic():
        add.enqueue(1, 2)
    unsubscribe()

    assert counts == [1]


def test_a_listener_that_fails_does_not_disturb_the_caller():
    from dj_queue import events

    def fail(event):
        raise ValueError("no")

    unsubscribe = events.subscribe(JobsReady, fail)
    try:
        with transaction.atomic():
            result = add.enqueue(1, 2)
        add.enqueue(1, 2)
    finally:
        unsubscribe()

    assert Job.objects.count() == 2
    assert default_task_backend.get_result(result.id) == result


def test_a_wake_up_names_the_database_of_the_queue(heard, use_tasks, queue_database):
    ready, scheduled = heard(JobsReady), heard(JobsScheduled)
    use_tasks(default={"database_alias": queue_database})

    with transaction.atomic():
        add.enqueue(1, 2)
        add.using(run_after=in_hours(1)).enqueue(1, 2)
        # On its own database the job is committed: nothing there waits for the transaction here.
        assert ready == [JobsReady(queue_database, "default", ("default",))]
        assert scheduled == [JobsScheduled(queue_database, "default")]


def test_a_queue_on_another_database_does_not_take_part_in_the_transaction(
    use_tasks, queue_database
):
    use_tasks(default={"database_alias": queue_database})

    with rolled_back():
        result = add.enqueue(1, 2)

    assert Job.objects.using(queue_database).count() == 1
    assert default_task_backend.get_result(result.id) == result
    assert not Job.objects.using("default").exists()


def test_a_job_takes_part_in_a_transaction_on_its_queues_database(use_tasks, queue_database):
    use_tasks(default={"database_alias": queue_database})

    with rolled_back(queue_database):
        default_task_backend.enqueue_all([(add, (1, 2), {})] * 3)
        add.enqueue(1, 2)

    assert not Job.objects.using(queue_database).exists()
