"""What is done to stored jobs that share slots: nothing is lost silently, and nobody gets a slot twice."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.tasks import TaskResultStatus
from django.utils import timezone

from dj_queue import events
from dj_queue.api import QueueInfo
from dj_queue.exceptions import RetryRefused
from dj_queue.models import FailedExecution, Job, SemaphoreHolder
from dj_queue.operations import jobs
from dj_queue.runtime.scripts import stop_scripts
from tests.site.limited_tasks import one, one_or_none

LATER = timedelta(hours=1)


def states(*results):
    return [Job.objects.get(pk=result.id).status for result in results]


def fail_one(worker):
    claimed = worker.claim_one()
    worker.fail(claimed)
    return claimed


def test_a_failed_job_competes_for_a_slot_again(worker):
    failed = one.enqueue()
    fail_one(worker)
    holder = one.enqueue()

    jobs.retry_failed_job(failed.id)

    assert states(failed, holder) == ["blocked", "ready"]
    worker.succeed(worker.claim_one())
    assert states(failed, holder) == ["ready", "finished"]


def test_a_failed_job_with_a_free_slot_is_ready_after_its_retry(worker):
    failed = one.enqueue()
    fail_one(worker)

    assert jobs.retry_failed_job(failed.id).status == "ready"
    assert SemaphoreHolder.objects.count() == 1


def test_a_retry_that_its_policy_would_discard_is_refused_and_says_why(worker, heard):
    told = heard(events.RetriesRefused)
    failed = one_or_none.enqueue()
    fail_one(worker)
    one_or_none.enqueue()

    with pytest.raises(RetryRefused, match=r"on_conflict='discard', and all 1 slots of 'one'"):
        jobs.retry_failed_job(failed.id)

    assert jobs.retry_failed_jobs() == 0
    assert states(failed) == ["failed"]
    assert one_or_none.get_result(failed.id).status is TaskResultStatus.FAILED
    assert [event.count for event in told] == [1, 1]


def test_a_scheduled_retry_that_is_refused_does_not_come_again(worker):
    failed = one_or_none.enqueue()
    fail_one(worker)
    one_or_none.enqueue()
    jobs.schedule_failed_job_retry(failed.id, retry_at=timezone.now() - LATER)

    assert jobs.promote_failed_job_retries(batch_size=10) == []

    assert FailedExecution.objects.get().retry_at is None


def test_a_retry_that_would_be_discarded_works_when_the_slot_is_free(worker):
    failed = one_or_none.enqueue()
    fail_one(worker)

    assert jobs.retry_failed_job(failed.id).status == "ready"


def test_clearing_a_queue_does_not_take_those_who_wait_for_a_slot():
    holder, first, second = (one.enqueue() for _ in range(3))
    assert states(holder, first, second) == ["ready", "blocked", "blocked"]

    assert QueueInfo("default").clear(batch_size=1) == 1

    assert states(first, second) == ["ready", "blocked"]
    assert Job.objects.count() == 2


def test_the_slot_of_a_discarded_job_is_free_after_the_commit():
    holder, waiter = one.enqueue(), one.enqueue()

    with transaction.atomic():
        assert jobs.discard_ready_jobs(job_ids=[holder.id]) == 1
        transaction.set_rollback(True)
    assert states(holder, waiter) == ["ready", "blocked"]

    assert jobs.discard_ready_jobs(job_ids=[holder.id]) == 1
    assert states(waiter) == ["ready"]
    assert SemaphoreHolder.objects.count() == 1


def test_a_discarded_waiter_frees_nothing():
    holder, waiter, last = (one.enqueue() for _ in range(3))

    assert jobs.discard_blocked_jobs(job_ids=[waiter.id]) == 1

    assert states(holder, last) == ["ready", "blocked"]


def test_a_scheduled_job_that_is_discarded_gives_back_no_slot_that_it_never_had():
    later = one.using(run_after=timezone.now() + LATER).enqueue()
    holder, waiter = one.enqueue(), one.enqueue()

    assert jobs.discard_scheduled_jobs(job_ids=[later.id]) == 1

    assert states(holder, waiter) == ["ready", "blocked"]


def test_an_early_start_says_where_the_job_went():
    free = one.using(run_after=timezone.now() + LATER).enqueue()
    late = one.using(run_after=timezone.now() + LATER).enqueue()
    dropped = one_or_none.using(run_after=timezone.now() + LATER).enqueue()

    assert jobs.dispatch_scheduled_job_now(free.id)[1] == "ready"
    assert jobs.dispatch_scheduled_job_now(late.id)[1] == "blocked"
    job, outcome = jobs.dispatch_scheduled_job_now(dropped.id)

    assert (outcome, job.status) == ("discarded", "finished")
    assert states(free, late, dropped) == ["ready", "blocked", "finished"]


def test_a_fresh_copy_keeps_its_policy():
    source = one.enqueue()

    copy = jobs.enqueue_job_again(source.id)

    assert (copy.concurrency_key, copy.concurrency_limit) == ("one", 1)
    assert copy.status == "blocked"


def test_a_script_gives_the_slot_on():
    first, second = one.enqueue(), one.enqueue()
    try:
        (claimed,) = jobs.claim_ready_jobs(limit=5)
        jobs.execute_claimed_job(claimed)
    finally:
        stop_scripts()

    assert states(first, second) == ["finished", "ready"]
