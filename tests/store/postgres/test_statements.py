"""What each step costs on PostgreSQL, counted in the messages that leave the client."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from dj_queue.ids import new_token
from dj_queue.store.base import ROWS_PER_STATEMENT
from dj_queue.store.records import Limit, ProcessRecord, Room
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


@pytest.fixture
def traffic_of(traffic, session, claimer):
    """What the session sends while a function runs that takes the session and the claimer."""
    session.exchange(claimer, (), PLENTY)
    return lambda function: traffic(session._connection, lambda: function(session, claimer))


@pytest.fixture
def cost(traffic_of):
    """How many statements the session sends while a function runs."""
    return lambda function: traffic_of(function).statements


@pytest.fixture
def insert_cost(traffic, store):
    """What Django's connection sends for one insert."""

    def count(*jobs):
        connection.ensure_connection()
        return traffic(connection.connection, lambda: store.insert("default", jobs))

    return count


@pytest.mark.parametrize("seconds", [None, 3600])
def test_job_is_inserted_with_one_statement_and_no_begin(insert_cost, seconds):
    run_after = seconds and database_clock() + timedelta(seconds=seconds)

    sent = [insert_cost(new_job(run_after=run_after)) for _ in range(12)]

    # A second one calls the workers again, if the first took so long that its own call may have been missed.
    assert sorted(each.statements for each in sent)[:-2] == [1] * 10
    # At some point the server prepares it.
    assert sorted(each.round_trips for each in sent)[:-2] == [1] * 10


def test_job_is_inserted_as_claimed_with_one_statement(traffic, store, claimer):
    connection.ensure_connection()

    sent = traffic(
        connection.connection,
        lambda: store.insert_claimed(
            "default", new_job(), process_id=claimer.process_id, token=new_token()
        ),
    )

    assert sent.statements == 1


def test_insert_adds_one_statement_to_the_callers_transaction(store):
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        insert(store, new_job())

    assert len(queries) == 1


@pytest.mark.parametrize("count", [10, 500])
def test_insert_of_many_costs_the_same_however_many(store, insert_cost, count):
    later = database_clock() + timedelta(hours=1)
    jobs = [new_job(run_after=(None, later)[n % 2]) for n in range(count)]

    # The jobs, and a notification each for ready and for scheduled ones.
    assert insert_cost(*jobs).statements <= 3 + 2


@pytest.mark.parametrize("chunks", [1, 2])
def test_insert_of_very_many_costs_one_statement_for_each_chunk(store, chunks):
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        insert(store, *[new_job() for _ in range(chunks * ROWS_PER_STATEMENT)])

    # A notification, and a savepoint around several statements.
    assert len(queries) <= chunks + 3


def test_statement_of_an_insert_is_seen_by_execute_wrappers(store):
    insert(store, new_job())  # From the second on, it may be prepared.
    with CaptureQueriesContext(connection) as queries:
        insert(store, new_job())

    assert "INSERT INTO dj_queue_jobs" in queries[0]["sql"]


@pytest.mark.parametrize("count", [1, 10, 500])
def test_claim_is_one_statement_however_many_jobs(store, cost, count):
    insert(store, *[new_job() for _ in range(count)])

    assert cost(lambda session, claimer: claim(session, claimer, count)) == 1


@pytest.mark.parametrize("selectors", [["a", "b"], ["a*"], ["a*", "b", "*"]], ids=",".join)
def test_claim_is_one_statement_whatever_the_selectors(store, cost, make_claimer, selectors):
    insert(store, new_job("a"), new_job("b"))
    chosen = make_claimer(selectors, name="chosen")
    claim_chosen = lambda session, _: claim(session, chosen, 1)  # noqa: E731 - reads like the others
    cost(claim_chosen)

    assert cost(claim_chosen) == 1


def test_look_that_finds_nothing_is_one_statement(cost):
    assert cost(claim) == 1


def test_exchange_is_one_round_trip_once_the_server_has_prepared_it(store, traffic_of):
    insert(store, *[new_job() for _ in range(40)])
    jobs, sent = [], []

    def work(session, claimer):
        jobs[:] = session.exchange(claimer, [succeeded(job) for job in jobs], Room(10, 0)).claimed

    sent = [traffic_of(work) for _ in range(4)]

    assert [each.statements for each in sent] == [1, 1, 1, 1]
    # The first claimed only, and the second did both for the first time.
    assert [each.round_trips for each in sent[2:]] == [1, 1]


@pytest.mark.parametrize("count", [1, 10, 500])
def test_successes_are_recorded_and_jobs_claimed_with_one_statement(store, cost, count):
    insert(store, *[new_job() for _ in range(2 * count)])
    jobs = []
    cost(lambda session, claimer: jobs.extend(claim(session, claimer, count)))
    outcomes = [succeeded(job, {"n": 1}) for job in jobs]

    sent = cost(lambda session, claimer: session.exchange(claimer, outcomes, Room(count, 0)))

    assert sent == 1


@pytest.mark.parametrize("count", [10, 500])
@pytest.mark.parametrize("preserves", [True, False])
def test_successes_alone_are_recorded_with_one_statement(
    store, cost, make_claimer, count, preserves
):
    insert(store, *[new_job() for _ in range(count)])
    chosen = make_claimer(name="chosen", preserve_finished_jobs=preserves)
    jobs = []
    cost(lambda session, _: jobs.extend(claim(session, chosen, count)))
    outcomes = [succeeded(job) for job in jobs]

    assert cost(lambda session, _: session.exchange(chosen, outcomes, NO_ROOM)) == 1


@pytest.mark.parametrize("count", [10, 500])
def test_failures_cost_a_transaction_of_the_same_size_however_many(store, cost, count):
    insert(store, *[new_job() for _ in range(2 * count)])
    jobs = []
    cost(lambda session, claimer: jobs.extend(claim(session, claimer, count)))
    outcomes = [(failed, succeeded)[n % 2](job) for n, job in enumerate(jobs)]

    sent = cost(lambda session, claimer: session.exchange(claimer, outcomes, Room(count, 0)))

    # BEGIN, the failures, successes and claims, COMMIT.
    assert sent == 4


@pytest.mark.parametrize("count", [10, 500])
def test_release_is_one_statement_however_many_jobs(store, cost, count):
    insert(store, *[new_job() for _ in range(count)])
    jobs = []
    cost(lambda session, claimer: jobs.extend(claim(session, claimer, count)))

    assert cost(lambda session, _: session.release([job.claim for job in jobs])) == 1


@pytest.mark.parametrize("due", [0, 10, 500])
def test_promotion_is_one_statement_however_many_jobs(store, cost, due):
    now = database_clock()
    insert(store, *[new_job(run_after=now + timedelta(seconds=0.3)) for _ in range(due)])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dj_queue_scheduled_executions SET scheduled_at = now()")

    assert cost(lambda session, _: session.promote_due(1000)) == 1


def limited(n, **fields):
    """One of many jobs that share ten keys."""
    return new_job(limit=Limit(f"key {n % 10}", 1 + n // 20, 60), **fields)


@pytest.mark.parametrize("count", [20, 500])
def test_insert_of_jobs_with_limits_costs_the_same_however_many(store, traffic, count):
    connection.ensure_connection()
    jobs = [limited(n, discards=n % 3 == 0) for n in range(count)]

    sent = traffic(connection.connection, lambda: store.insert_limited("default", jobs))

    # BEGIN, the clock, jobs and blocked rows; the keys, what they are and who is next; who starts and who
    # is dropped, what is left; a notification, COMMIT.
    assert sent.statements <= 12


@pytest.mark.parametrize("count", [20, 500])
def test_insert_of_jobs_with_limits_in_a_transaction_is_four_statements(store, count):
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        store.insert_limited("default", [limited(n) for n in range(count)])

    # And a savepoint around them.
    assert len(queries) <= 3 + 2


@pytest.mark.parametrize("count", [20, 500])
@pytest.mark.parametrize("end", [succeeded, failed])
def test_slots_are_handed_on_with_the_same_statements_however_many(store, cost, count, end):
    store.insert_limited("default", [limited(n) for n in range(2 * count)])
    jobs = []
    cost(lambda session, claimer: jobs.extend(claim(session, claimer, count)))
    outcomes = [end(job) for job in jobs]
    claimed = []

    def work(session, claimer):
        claimed.extend(session.exchange(claimer, outcomes, Room(count, 0)).claimed)

    # BEGIN, the outcomes; the slots that end, the keys, what they are, who is next, who starts; perhaps what
    # is left; the claim; perhaps a notification, COMMIT.
    assert cost(work) <= 11
    assert claimed


@pytest.mark.parametrize("due", [20, 500])
def test_promotion_of_jobs_with_limits_costs_the_same_however_many(store, cost, due):
    later = database_clock() + timedelta(hours=1)
    store.insert_limited("default", [limited(n, run_after=later) for n in range(due)])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dj_queue_scheduled_executions SET scheduled_at = now()")

    assert cost(lambda session, _: session.promote_due(1000)) <= 9


def test_sign_of_life_of_many_is_one_statement(cost, session):
    ids = session.register([ProcessRecord(f"p{n}", "Worker", 1, "host") for n in range(10)])

    assert cost(lambda session, _: session.heartbeat(list(ids.values()))) == 1
    assert cost(lambda session, _: session.deregister(list(ids.values()))) == 1
