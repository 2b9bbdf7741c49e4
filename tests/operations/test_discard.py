"""Discard: what nobody runs is deleted, batch by batch, and nothing else is."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from dj_queue import events
from dj_queue.exceptions import UndiscardableError
from dj_queue.models import (
    BlockedExecution,
    ClaimedExecution,
    FailedExecution,
    Job,
    ReadyExecution,
    RecurringExecution,
    ScheduledExecution,
)
from dj_queue.operations import jobs
from tests.site.tasks import noop

LATER = timedelta(hours=1)


def enqueue(count, *, delay=None, backend="default", queue="default"):
    run_after = None if delay is None else timezone.now() + delay
    task = noop.using(run_after=run_after, backend=backend, queue_name=queue)
    return task.get_backend().enqueue_all([(task, (), {})] * count)


def test_ready_jobs_are_deleted_one_batch_per_call():
    enqueue(5)

    assert jobs.discard_ready_jobs(batch_size=3) == 3
    assert jobs.discard_ready_jobs(batch_size=3) == 2
    assert jobs.discard_ready_jobs(batch_size=3) == 0
    assert Job.objects.count() == 0
    assert ReadyExecution.objects.count() == 0


def test_only_the_given_jobs_go_and_ids_in_other_states_are_passed_over():
    first, second = enqueue(2)
    (scheduled,) = enqueue(1, delay=LATER)

    count = jobs.discard_ready_jobs(job_ids=[first.id, scheduled.id, uuid4()])

    assert count == 1
    assert {str(job.pk) for job in Job.objects.all()} == {second.id, scheduled.id}


def test_what_is_no_id_is_told():
    with pytest.raises(ValueError, match="expected a job or the id of one, found 'x'"):
        jobs.discard_ready_jobs(job_ids=["x"])


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_has_a_size(size):
    with pytest.raises(ValueError, match="batch_size"):
        jobs.discard_ready_jobs(batch_size=size)


def test_scheduled_jobs_are_deleted():
    enqueue(2, delay=LATER)
    enqueue(1)

    assert jobs.discard_scheduled_jobs() == 2
    assert ScheduledExecution.objects.count() == 0
    assert Job.objects.count() == 1


def test_blocked_jobs_are_deleted():
    (result,) = enqueue(1)
    ReadyExecution.objects.all().delete()
    BlockedExecution.objects.create(
        job_id=result.id, concurrency_key="key", expires_at=timezone.now()
    )

    assert jobs.discard_blocked_jobs() == 1
    assert Job.objects.count() == 0


def test_failed_jobs_are_deleted(make_failed):
    one, two, three = make_failed(3)

    assert jobs.discard_failed_job(one.id) == 1
    assert jobs.discard_failed_job(one.id) == 0
    assert jobs.discard_failed_jobs(job_ids=[two]) == 1
    assert [job.pk for job in Job.objects.all()] == [three.pk]
    assert [row.job_id for row in FailedExecution.objects.all()] == [three.pk]


def test_of_one_queue_only_its_ready_jobs_go():
    enqueue(2, queue="mail")
    enqueue(1)
    enqueue(1, queue="mail", delay=LATER)

    assert jobs.discard_ready_jobs_for_queue("mail") == 2
    assert sorted(Job.objects.values_list("queue_name", flat=True)) == ["default", "mail"]


def test_another_backend_keeps_its_jobs(use_tasks):
    use_tasks(default={}, other={})
    enqueue(2)
    enqueue(2, backend="other")

    assert ReadyExecution.discard_all_in_batches(batch_size=1) == 2
    assert jobs.discard_ready_jobs(backend_alias="other") == 2


def test_all_rows_of_a_state_go_in_batches(make_failed):
    make_failed(3)
    enqueue(3)

    assert FailedExecution.discard_all_in_batches(batch_size=2) == 3
    assert ReadyExecution.discard_all_in_batches(batch_size=2) == 3
    assert Job.objects.count() == 0


def test_a_failed_row_discards_its_job(make_failed):
    make_failed()

    assert FailedExecution.objects.get().discard() == 1
    assert Job.objects.count() == 0


def test_claimed_jobs_cannot_be_discarded(worker):
    enqueue(1)
    worker.claim_one()

    assert jobs.discard_ready_jobs() == 0
    assert Job.objects.count() == 1
    with pytest.raises(UndiscardableError):
        ClaimedExecution.discard_all_in_batches()


def test_the_record_of_a_firing_outlives_its_job():
    (result,) = enqueue(1)
    record = RecurringExecution.objects.create(
        job_id=result.id, task_key="nightly", run_at=timezone.now()
    )

    jobs.discard_ready_jobs()

    record.refresh_from_db()
    assert record.job_id is None


def test_the_caller_can_take_it_back(heard):
    told = heard(events.JobsDiscarded)
    enqueue(2)

    with transaction.atomic():
        assert jobs.discard_ready_jobs() == 2
        transaction.set_rollback(True)

    assert Job.objects.count() == 2
    assert told == []


def test_an_event_tells_what_was_discarded(heard):
    told = heard(events.JobsDiscarded)
    (result,) = enqueue(1)

    jobs.discard_ready_jobs()

    assert [(event.backend, event.count, event.state) for event in told] == [
        ("default", 1, "ready")
    ]
    assert [str(job_id) for job_id in told[0].job_ids] == [result.id]


@pytest.mark.only_on("postgresql", "mysql")
def test_a_row_that_somebody_holds_is_passed_over():
    held, _ = enqueue(2)
    elsewhere = connections["default"].copy()
    try:
        elsewhere.set_autocommit(False)
        with elsewhere.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM dj_queue_ready_executions WHERE job_id = %s FOR UPDATE",
                [ReadyExecution._meta.get_field("job").get_db_prep_value(held.id, connection)],
            )
        assert jobs.discard_ready_jobs() == 1
    finally:
        elsewhere.rollback()
        elsewhere.close()
    assert [str(job.pk) for job in Job.objects.all()] == [held.id]


@pytest.mark.parametrize("make", ["ready", "failed"])
def test_a_batch_costs_the_same_however_many_jobs_it_has(make, count_statements, make_failed):
    counts = []
    for size in (10, 100):
        if make == "ready":
            enqueue(size)
            discard = jobs.discard_ready_jobs
        else:
            make_failed(size)
            discard = jobs.discard_failed_jobs
        with count_statements() as statements:
            assert discard() == size
        counts.append(len(statements))

    assert counts[0] == counts[1]
    if connection.vendor == "postgresql":
        assert counts[0] <= 12
