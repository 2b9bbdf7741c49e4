"""What each step costs on MySQL and MariaDB, counted by the server: the same however many jobs there are."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from dj_queue.ids import new_token
from dj_queue.models import Pause
from dj_queue.store.base import ROWS_PER_STATEMENT
from dj_queue.store.records import ProcessRecord, Room
from tests.store.building import (
    NO_ROOM,
    PLENTY,
    claim,
    database_clock,
    failed,
    insert,
    new_job,
    succeeded,
)

SMALL_AND_LARGE = pytest.mark.parametrize("count", [1, 10, 500])


@pytest.fixture
def cost(statements, session, claimer):
    """How many statements the session sends while a function runs that takes session and claimer."""
    session.exchange(claimer, (), PLENTY)
    return lambda function: statements(
        session._wrapper.connection, lambda: function(session, claimer)
    )


@pytest.fixture
def claimed(store, session, claimer):
    """Inserts twice so many jobs, and claims the first half."""

    def claim_half(count):
        insert(store, *[new_job() for _ in range(2 * count)])
        return claim(session, claimer, count)

    return claim_half


def test_look_that_finds_nothing_is_one_statement(cost):
    assert cost(claim) == 1


def test_look_past_a_paused_backlog_costs_no_transaction(store, cost):
    insert(store, *[new_job("paused") for _ in range(20)])
    Pause.objects.create(queue_name="paused")
    # The first look learns the name of the queue.
    cost(claim)

    assert cost(claim) == 2


def test_look_past_the_backlog_of_other_queues_is_one_statement(store, cost, make_claimer):
    insert(store, *[new_job("other") for _ in range(20)])
    chosen = make_claimer(["mine", "also mine"], name="chosen")

    assert cost(lambda session, _: claim(session, chosen)) == 1


@SMALL_AND_LARGE
def test_job_is_inserted_with_three_statements_in_a_transaction(store, statements, count):
    connection.ensure_connection()

    sent = statements(connection.connection, lambda: insert(store, *many(count)))

    # The clock, the jobs, the ready rows; autocommit off, COMMIT, autocommit on.
    assert sent == 6


def test_job_is_inserted_as_claimed_with_four_statements_in_a_transaction(
    store, statements, claimer
):
    connection.ensure_connection()

    sent = statements(
        connection.connection,
        lambda: store.insert_claimed(
            "default", new_job(), process_id=claimer.process_id, token=new_token()
        ),
    )

    # The clock, the job, the pause, the claim.
    assert sent == 4 + 3


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_insert_of_very_many_costs_two_statements_for_each_chunk(store, chunks):
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        insert(store, *many(chunks * ROWS_PER_STATEMENT))

    # The clock, and a savepoint around it all.
    assert len(queries) == 2 * chunks + 3


@SMALL_AND_LARGE
def test_claim_costs_the_same_however_many_jobs(store, cost, count):
    insert(store, *many(count))

    # Look; BEGIN, choose, delete, jobs, claims, COMMIT.
    assert cost(lambda session, claimer: claim(session, claimer, count)) == 7


@SMALL_AND_LARGE
def test_outcomes_cost_the_same_however_many(cost, claimed, count):
    outcomes = [succeeded(job, {"n": 1}) for job in claimed(count)]

    # Clock; BEGIN, claims, delete, jobs, COMMIT.
    assert cost(lambda session, claimer: session.exchange(claimer, outcomes, NO_ROOM)) == 6


@SMALL_AND_LARGE
def test_jobs_that_are_not_preserved_cost_one_statement_more(cost, claimed, make_claimer, count):
    outcomes = [succeeded(job) for job in claimed(count)]
    chosen = make_claimer(name="chosen", preserve_finished_jobs=False)

    assert cost(lambda session, _: session.exchange(chosen, outcomes, NO_ROOM)) == 7


@SMALL_AND_LARGE
def test_outcomes_and_the_next_claim_share_a_transaction(cost, claimed, count):
    outcomes = [succeeded(job) for job in claimed(count)]

    sent = cost(lambda session, claimer: session.exchange(claimer, outcomes, Room(count, 0)))

    assert sent == 10


@SMALL_AND_LARGE
def test_failures_cost_one_statement_more(cost, claimed, count):
    outcomes = [failed(job) for job in claimed(count)]

    assert cost(lambda session, claimer: session.exchange(claimer, outcomes, NO_ROOM)) == 7


@SMALL_AND_LARGE
def test_release_costs_the_same_however_many_jobs(cost, claimed, count):
    claims = [job.claim for job in claimed(count)]

    # BEGIN, claims, delete, clock, ready rows, COMMIT.
    assert cost(lambda session, _: session.release(claims)) == 6


def test_look_for_due_jobs_that_finds_none_is_one_statement(store, cost):
    insert(store, new_job(run_after=database_clock() + timedelta(hours=1)))

    assert cost(lambda session, _: session.promote_due(10)) == 1


@SMALL_AND_LARGE
def test_promotion_costs_the_same_however_many_jobs(store, cost, count):
    later = database_clock() + timedelta(hours=1)
    insert(store, *[new_job(run_after=later) for _ in range(count)])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dj_queue_scheduled_executions SET scheduled_at = UTC_TIMESTAMP(6)")

    # Look; BEGIN, due rows, delete, ready rows, what is next, COMMIT.
    assert cost(lambda session, _: session.promote_due(1000)) == 7


def test_processes_cost_the_same_however_many(cost, session):
    records = [ProcessRecord(f"p{n}", "Worker", 1, "host") for n in range(50)]
    ids = {}

    assert cost(lambda session, _: ids.update(session.register(records))) == 6
    assert cost(lambda session, _: session.heartbeat(list(ids.values()))) == 4
    assert cost(lambda session, _: session.deregister(list(ids.values()))) == 4


def many(count):
    return [new_job() for _ in range(count)]
