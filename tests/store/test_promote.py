"""Scheduled jobs become ready when they are due, in the order of their times."""

from datetime import timedelta
from functools import partial

import pytest
from django.db.models import F

from dj_queue.models import ReadyExecution, ScheduledExecution
from dj_queue.states import Executor, JobState
from tests.store.building import claim, database_clock, ids, insert, new_job, status, stored


@pytest.fixture
def schedule(store):
    """Inserts a scheduled job and moves its time to so many seconds from now."""

    def schedule_one(queue="default", *, seconds, backend="default", **fields):
        [job] = insert(
            store,
            new_job(queue, run_after=database_clock() + timedelta(hours=1), **fields),
            backend=backend,
        )
        ScheduledExecution.objects.filter(job_id=job.id).update(
            scheduled_at=database_clock() + timedelta(seconds=seconds)
        )
        return job

    return schedule_one


def test_due_job_becomes_ready_as_it_was_scheduled(session, schedule):
    job = schedule("mail", seconds=-1, priority=6, executor=Executor.ASYNC)
    before = database_clock()

    promotion = session.promote_due(10)

    row = ReadyExecution.objects.get(job_id=job.id)
    assert (promotion.promoted, list(promotion.queues)) == (1, ["mail"])
    assert (row.backend_alias, row.queue_name) == ("default", "mail")
    assert (row.priority, row.executor) == (6, Executor.ASYNC)
    assert before <= row.created_at <= database_clock()
    assert not ScheduledExecution.objects.exists()


def test_promoted_job_keeps_the_time_that_it_was_asked_for(session, schedule):
    job = schedule(seconds=-1)
    before = stored(job).scheduled_at

    session.promote_due(10)

    assert stored(job).scheduled_at == before


def test_job_that_is_not_due_stays_scheduled(session, schedule):
    job = schedule(seconds=60)

    promotion = session.promote_due(10)

    assert (promotion.promoted, list(promotion.queues)) == (0, [])
    assert status(job) is JobState.SCHEDULED


def test_jobs_become_ready_in_the_order_of_their_times(session, claimer, schedule):
    jobs = {seconds: schedule(seconds=seconds) for seconds in (-1, -3, -2)}

    session.promote_due(10)

    assert ids(claim(session, claimer)) == ids([jobs[-3], jobs[-2], jobs[-1]])


def test_jobs_of_one_time_become_ready_by_priority(session, schedule):
    jobs = [schedule(seconds=-5, priority=each) for each in (0, 5, 0, -5)]
    ScheduledExecution.objects.update(scheduled_at=database_clock() - timedelta(seconds=5))

    session.promote_due(10)

    in_order = ReadyExecution.objects.order_by("id").values_list("job_id", flat=True)
    assert list(in_order) == ids([jobs[1], jobs[0], jobs[2], jobs[3]])


def test_no_more_are_promoted_than_the_limit_and_the_longest_due_first(session, schedule):
    jobs = [schedule(seconds=-seconds) for seconds in (1, 2, 3)]

    promotion = session.promote_due(2)

    assert promotion.promoted == 2
    assert [status(job) for job in jobs] == [JobState.SCHEDULED, JobState.READY, JobState.READY]


def test_jobs_left_over_by_the_limit_are_due_at_once(session, schedule):
    schedule(seconds=-1)
    schedule(seconds=-2)
    schedule(seconds=60)

    promotion = session.promote_due(1)

    assert promotion.seconds_to_next == 0.0


def test_seconds_to_the_next_job_are_told_when_none_is_due(session, schedule):
    schedule(seconds=90)
    schedule(seconds=30)

    promotion = session.promote_due(10)

    assert 25 < promotion.seconds_to_next <= 30


def test_seconds_to_the_next_job_are_told_after_a_promotion(session, schedule):
    schedule(seconds=-1)
    schedule(seconds=30)

    promotion = session.promote_due(10)

    assert promotion.promoted == 1
    assert 25 < promotion.seconds_to_next <= 30


@pytest.mark.parametrize("due", [0, 2])
def test_nothing_is_next_when_none_is_left(session, schedule, due):
    for _ in range(due):
        schedule(seconds=-1)

    promotion = session.promote_due(10)

    assert (promotion.promoted, promotion.seconds_to_next) == (due, None)


def test_jobs_of_another_backend_are_neither_promoted_nor_waited_for(session, schedule):
    due = schedule(seconds=-1, backend="other")
    schedule(seconds=30, backend="other")

    promotion = session.promote_due(10)

    assert (promotion.promoted, promotion.seconds_to_next) == (0, None)
    assert status(due) is JobState.SCHEDULED


def test_each_queue_is_named_once(session, schedule):
    for queue in ("b", "a", "b", "a"):
        schedule(queue, seconds=-1)

    promotion = session.promote_due(10)

    assert sorted(promotion.queues) == ["a", "b"]


def test_many_due_jobs_are_promoted_in_order(store, session, claimer):
    soon = database_clock() + timedelta(hours=1)
    jobs = insert(
        store, *[new_job(run_after=soon + timedelta(milliseconds=n)) for n in range(1500)]
    )
    ScheduledExecution.objects.update(scheduled_at=F("scheduled_at") - timedelta(hours=2))

    promoted = [session.promote_due(1000).promoted for _ in range(3)]

    assert promoted == [1000, 500, 0]
    assert ids(claim(session, claimer, 2000)) == ids(jobs)


def test_two_sessions_that_promote_at_once_promote_each_job_once(
    open_session, schedule, in_threads
):
    jobs = [schedule(seconds=-1) for _ in range(20)]

    def promote_all(session):
        return sum(session.promote_due(3).promoted for _ in range(20))

    promoted = in_threads(*[partial(promote_all, open_session()) for _ in range(3)])

    assert sum(promoted) == 20
    assert set(ReadyExecution.objects.values_list("job_id", flat=True)) == set(ids(jobs))
