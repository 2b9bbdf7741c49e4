"""The server's clock decides, not ours: it is set ahead for the connections of a test."""

from datetime import timedelta

import pytest
from django.db import connection

from dj_queue.models import ClaimedExecution, Job, Process
from dj_queue.states import DispatchOutcome
from dj_queue.store.records import Room
from tests.store.building import claim, database_clock, insert, new_job

AHEAD = timedelta(hours=1)


@pytest.fixture
def now():
    """Our own clock, before the server's is set."""
    return database_clock()


@pytest.fixture
def clock_ahead(session, claimer, now):
    """Sets the clock of the server one hour ahead, for Django's connection and for the session's."""
    claim(session, claimer)
    ahead = (now + AHEAD).timestamp()
    session._wrapper.connection.cursor().execute("SET timestamp = %s", (ahead,))
    with connection.cursor() as cursor:
        cursor.execute("SET timestamp = %s", (ahead,))
        yield
        cursor.execute("SET timestamp = DEFAULT")


def test_job_is_ready_that_is_due_by_the_servers_clock(store, now, clock_ahead):
    due, later = new_job(run_after=now + AHEAD / 2), new_job(run_after=now + AHEAD * 2)

    inserted = store.insert("default", [due, later])

    assert list(inserted.outcomes) == [DispatchOutcome.READY, DispatchOutcome.SCHEDULED]
    assert inserted.created_at >= now + AHEAD
    assert Job.objects.get(pk=due.id).created_at == inserted.created_at


def test_job_is_promoted_that_is_due_by_the_servers_clock(store, session, now, clock_ahead):
    insert(store, new_job(run_after=now + AHEAD + timedelta(minutes=1)))

    promotion = session.promote_due(10)

    assert promotion.promoted == 0
    assert 0 < promotion.seconds_to_next <= 60


def test_claim_and_answer_have_the_servers_time(store, session, claimer, now, clock_ahead):
    insert(store, new_job())

    answer = session.exchange(claimer, (), Room(1, 1))

    assert answer.now >= now + AHEAD
    assert ClaimedExecution.objects.get().started_at >= now + AHEAD


def test_sign_of_life_has_the_servers_time(session, claimer, now, clock_ahead):
    session.heartbeat([claimer.process_id])

    assert Process.objects.get().last_heartbeat_at >= now + AHEAD
