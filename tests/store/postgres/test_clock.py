"""The server's clock decides, not ours: functions of ours stand in front of the server's."""

from datetime import timedelta

import pytest
from django.db import connection

from dj_queue.models import ClaimedExecution, Job
from dj_queue.states import DispatchOutcome
from dj_queue.store.records import Room
from tests.store.building import claim, database_clock, insert, new_job

AHEAD = timedelta(hours=1)


@pytest.fixture
def clock_ahead(session, claimer):
    """Sets the clock of the server one hour ahead, for Django's connection and for the session's."""
    claim(session, claimer)
    path = "SET search_path = other_clock, public, pg_catalog"
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA other_clock")
        for function in ("statement_timestamp", "clock_timestamp", "now"):
            cursor.execute(
                f"CREATE FUNCTION other_clock.{function}() RETURNS timestamptz LANGUAGE sql "
                f"AS $$ SELECT pg_catalog.{function}() + interval '1 hour' $$"
            )
        cursor.execute(path)
        session._connection.execute(path)
        yield
        cursor.execute("DROP SCHEMA other_clock CASCADE")
        cursor.execute("RESET search_path")


@pytest.fixture
def now():
    """Our own clock, before the server's is set."""
    return database_clock()


def test_job_is_ready_that_is_due_by_the_servers_clock(store, now, clock_ahead):
    due, later = new_job(run_after=now + AHEAD / 2), new_job(run_after=now + AHEAD * 2)

    one = store.insert("default", [due])
    many = store.insert("default", [new_job(run_after=now + AHEAD / 2), later])

    assert list(one.outcomes) == [DispatchOutcome.READY]
    assert list(many.outcomes) == [DispatchOutcome.READY, DispatchOutcome.SCHEDULED]
    assert one.created_at >= now + AHEAD
    assert Job.objects.get(pk=due.id).created_at == one.created_at


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
