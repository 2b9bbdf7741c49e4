"""Where `USE_TZ` is off, times in the columns are local, and the store still speaks of moments."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from dj_queue.models import Job, Leadership, ScheduledExecution
from dj_queue.states import DispatchOutcome
from dj_queue.store.locks import Holder
from tests.store.building import FINISHED, NO_ROOM, STARTED, claim, insert, new_job, succeeded


@pytest.fixture(autouse=True)
def local_time(settings):
    # A connection is told of the time zone when it is made.
    connection.close()
    settings.USE_TZ = False
    settings.TIME_ZONE = "Asia/Kolkata"
    yield
    connection.close()


def local(moment):
    return (moment + timedelta(hours=5, minutes=30)).replace(tzinfo=None)


def test_job_is_written_in_local_time(store):
    run_after = datetime.now(UTC) + timedelta(hours=1)

    inserted = store.insert("default", [job := new_job(run_after=run_after)])

    row = Job.objects.get(pk=job.id)
    assert list(inserted.outcomes) == [DispatchOutcome.SCHEDULED]
    assert row.scheduled_at == local(run_after)
    assert abs(row.created_at - local(datetime.now(UTC))) < timedelta(minutes=1)


def test_time_of_an_insert_is_aware(store):
    one = store.insert("default", [new_job()])
    many = store.insert("default", [new_job(), new_job()])

    for inserted in (one, many):
        assert abs(inserted.created_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_time_that_has_passed_is_told_from_one_to_come(store):
    now = datetime.now(UTC)
    jobs = [new_job(run_after=now + timedelta(minutes=each)) for each in (-1, 1)]

    inserted = store.insert("default", jobs)

    assert list(inserted.outcomes) == [DispatchOutcome.READY, DispatchOutcome.SCHEDULED]


def test_claimed_job_has_aware_times(store, session, claimer):
    run_after = datetime.now(UTC) - timedelta(minutes=1)
    insert(store, new_job(run_after=run_after))

    [job] = claim(session, claimer)

    assert job.scheduled_at == run_after
    assert abs(job.created_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_outcome_is_written_in_local_time(store, session, claimer):
    insert(store, new_job())
    [job] = claim(session, claimer)

    session.exchange(claimer, [succeeded(job)], NO_ROOM)

    row = Job.objects.get(pk=job.id)
    assert (row.started_at, row.finished_at) == (local(STARTED), local(FINISHED))


def test_job_is_promoted_when_it_is_due(store, session):
    due = datetime.now(UTC) + timedelta(seconds=30)
    insert(store, new_job(run_after=due))
    before = session.promote_due(10)
    ScheduledExecution.objects.update(scheduled_at=local(due - timedelta(seconds=31)))

    after = session.promote_due(10)

    assert before.promoted == 0
    assert 20 < before.seconds_to_next <= 30
    assert (after.promoted, after.seconds_to_next) == (1, None)


def test_times_of_a_leader_are_local(session):
    lock = session.leader_lock("dispatcher", Holder("name", 1, "host"))

    lock.try_acquire()
    lock._next_progress = 0.0
    lock.beat()

    row = Leadership.objects.get()
    for moment in (row.since, row.progress_at):
        assert abs(moment - local(datetime.now(UTC))) < timedelta(minutes=1)
    lock.release()
    assert abs(Leadership.objects.get().expires_at - local(datetime.now(UTC))) < timedelta(
        minutes=1
    )
