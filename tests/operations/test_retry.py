"""Retry: a failed job goes where a new one would go, with its history."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.tasks import TaskResultStatus
from django.utils import timezone

from dj_queue import events
from dj_queue.models import FailedExecution, Job, ReadyExecution, ScheduledExecution
from dj_queue.operations import jobs
from dj_queue.runtime.supervisor import Supervisor
from dj_queue.store import store_for
from tests.site.tasks import add, noop
from tests.waiting import wait_until

LATER = timedelta(hours=1)


def look(backend="default"):
    """What the dispatcher learns when it looks for due jobs."""
    with store_for("default").open_session(backend) as session:
        return session.promote_due(10)


def test_a_failed_job_is_ready_again_and_keeps_its_history(make_failed, worker):
    (job,) = make_failed()

    assert jobs.retry_failed_job(job.id).pk == job.pk

    assert FailedExecution.objects.count() == 0
    claimed = worker.claim_one()
    worker.succeed(claimed)
    result = noop.get_result(str(job.id))
    assert result.status is TaskResultStatus.SUCCESSFUL
    assert result.attempts == 2
    assert len(result.errors) == 1
    assert result.worker_ids == ["worker-1", "worker-1"]


def test_the_job_that_comes_back_knows_where_it_is(make_failed):
    (job,) = make_failed()

    retried = jobs.retry_failed_job(job)

    assert retried.status == "ready"


def test_a_job_that_is_not_failed_is_told():
    result = noop.enqueue()

    with pytest.raises(FailedExecution.DoesNotExist, match="is not failed on backend 'default'"):
        jobs.retry_failed_job(result.id)


def test_a_job_of_another_backend_is_not_retried(use_tasks, make_failed):
    use_tasks(default={}, other={})
    (job,) = make_failed(backend="other")

    with pytest.raises(FailedExecution.DoesNotExist):
        jobs.retry_failed_job(job)
    assert jobs.retry_failed_jobs() == 0
    assert jobs.retry_failed_job(job, backend_alias="other").pk == job.pk


def test_many_are_retried_one_batch_per_call_the_oldest_failures_first(make_failed):
    failed = make_failed(3)

    assert jobs.retry_failed_jobs(batch_size=2) == 2

    assert [row.job_id for row in FailedExecution.objects.all()] == [failed[2].pk]
    assert jobs.retry_failed_jobs(job_ids=[failed[0], failed[2]]) == 1


def test_rows_and_querysets_of_failed_jobs_can_be_retried(make_failed):
    make_failed(3)
    first = FailedExecution.objects.order_by("pk")[0]

    assert first.retry().pk == first.job_id
    assert FailedExecution.retry_all(FailedExecution.objects.all()) == 2
    assert ReadyExecution.objects.count() == 3


def test_a_retry_wakes_the_workers_after_the_commit(make_failed, heard):
    (job,) = make_failed()
    ready, retried = heard(events.JobsReady), heard(events.JobsRetried)

    with transaction.atomic():
        jobs.retry_failed_job(job)
        assert ready == []

    assert [event.queues for event in ready] == [("default",)]
    assert [event.job_ids for event in retried] == [(job.pk,)]


def test_a_retry_that_is_taken_back_did_not_happen(make_failed, heard):
    (job,) = make_failed()
    ready = heard(events.JobsReady)

    with transaction.atomic():
        jobs.retry_failed_job(job)
        transaction.set_rollback(True)

    assert FailedExecution.objects.count() == 1
    assert ReadyExecution.objects.count() == 0
    assert ready == []


def test_a_scheduled_retry_stays_failed_until_its_time(make_failed):
    early, late = make_failed(2)
    jobs.schedule_failed_job_retry(late.id, retry_at=timezone.now() + LATER)
    jobs.schedule_failed_job_retry(early.id, retry_at=timezone.now() - LATER)
    assert look().seconds_to_retry == 0.0

    promoted = jobs.promote_failed_job_retries(batch_size=10)

    assert [job.pk for job in promoted] == [early.pk]
    assert [row.job_id for row in FailedExecution.objects.all()] == [late.pk]
    assert 0 < look().seconds_to_retry <= LATER.total_seconds()


def test_the_look_for_due_jobs_tells_of_retries_of_its_backend_alone(use_tasks, make_failed):
    use_tasks(default={}, other={})
    make_failed()
    (job,) = make_failed(backend="other")
    assert look().seconds_to_retry is None

    jobs.schedule_failed_job_retry(job, retry_at=timezone.now() - LATER, backend_alias="other")

    assert look().seconds_to_retry is None
    assert look("other").seconds_to_retry == 0.0


def test_the_dispatcher_retries_at_the_time(make_failed):
    later, soon = make_failed(2)
    supervisor = Supervisor.from_backend_config()
    supervisor.start()
    try:
        assert supervisor.wait_until_ready(15)
        jobs.schedule_failed_job_retry(later, retry_at=timezone.now() + LATER)
        jobs.schedule_failed_job_retry(soon, retry_at=timezone.now() + timedelta(seconds=0.3))

        wait_until(lambda: Job.objects.get(pk=soon.pk).finished)
    finally:
        supervisor.stop(5)

    assert Job.objects.get(pk=soon.pk).worker_ids[0] == "worker-1"
    assert [row.job_id for row in FailedExecution.objects.all()] == [later.pk]


def test_a_time_without_zone_is_told(make_failed):
    (job,) = make_failed()

    with pytest.raises(ValueError, match="aware"):
        jobs.schedule_failed_job_retry(job, retry_at=datetime(2030, 1, 1))  # noqa: DTZ001
    with pytest.raises(FailedExecution.DoesNotExist):
        jobs.schedule_failed_job_retry(noop.enqueue().id, retry_at=datetime(2030, 1, 1, tzinfo=UTC))


def test_a_fresh_copy_has_what_was_asked_for_and_nothing_of_what_came(worker):
    source = add.using(priority=5, queue_name="mail").enqueue(1, b=2)
    worker.succeed(worker.claim_one(), 3)

    copy = jobs.enqueue_job_again(source.id)

    assert copy.pk != Job.objects.get(pk=source.id).pk
    result = add.get_result(str(copy.pk))
    assert (result.status, result.args, result.kwargs) == (TaskResultStatus.READY, [1], {"b": 2})
    assert (copy.queue_name, copy.priority, copy.worker_ids) == ("mail", 5, None)
    assert worker.claim_one().id == copy.pk


def test_a_fresh_copy_may_wait_for_another_time():
    source = noop.using(run_after=timezone.now() + LATER).enqueue()

    assert jobs.enqueue_job_again(source.id).status == "scheduled"
    ready = jobs.enqueue_job_again(source.id, run_after=timezone.now() - LATER)
    assert ready.status == "ready"
    assert ScheduledExecution.objects.count() == 2


@pytest.mark.parametrize("size", [10, 100])
def test_a_batch_costs_the_same_however_many_jobs_it_has(size, make_failed, count_statements):
    make_failed(size)

    with count_statements() as statements:
        assert jobs.retry_failed_jobs() == size

    if connection.vendor == "postgresql":
        assert len(statements) <= 10
