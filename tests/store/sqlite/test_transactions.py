"""A session on SQLite writes in transactions that say so when they begin, and looks without one."""

import sqlite3
from functools import partial

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from dj_queue.exceptions import UnsupportedDatabase
from dj_queue.store import store_for
from dj_queue.store.base import ROWS_PER_STATEMENT
from dj_queue.store.records import Room
from dj_queue.store.sqlite import SQLiteStore
from tests.store.building import NO_ROOM, claim, failed, ids, insert, new_job, succeeded
from tests.waiting import wait_until


def begun(statements):
    """The statements that begin or end a transaction."""
    return [each for each in statements if each.startswith(("BEGIN", "COMMIT", "ROLLBACK"))]


WRITES = ["BEGIN IMMEDIATE", "COMMIT"]


def test_look_that_finds_nothing_begins_no_transaction(session, claimer, told):
    statements = told(lambda: claim(session, claimer))

    assert begun(statements) == []
    assert len(statements) == 2


@pytest.mark.parametrize("count", [1, 10, 500])
def test_claim_is_one_transaction_however_many_jobs(store, session, claimer, told, count):
    insert(store, *[new_job() for _ in range(count)])

    assert begun(told(lambda: claim(session, claimer, count))) == WRITES


@pytest.mark.parametrize("count", [1, 10, 500])
def test_outcomes_and_the_next_claim_are_one_transaction(store, session, claimer, told, count):
    insert(store, *[new_job() for _ in range(2 * count)])
    outcomes = [
        (succeeded, failed)[n % 2](job) for n, job in enumerate(claim(session, claimer, count))
    ]

    statements = told(lambda: session.exchange(claimer, outcomes, Room(count, 0)))

    assert begun(statements) == WRITES


def test_release_is_one_transaction(store, session, claimer, told):
    insert(store, *[new_job() for _ in range(10)])
    claims = [job.claim for job in claim(session, claimer)]

    assert begun(told(lambda: session.release(claims))) == WRITES


def test_promotion_of_nothing_begins_no_transaction(session, told):
    assert begun(told(lambda: session.promote_due(10))) == []


@pytest.mark.parametrize("count", [1, 10, 500, 3 * ROWS_PER_STATEMENT])
def test_jobs_are_handed_over_in_two_calls_however_many(store, count):
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        insert(store, *[new_job() for _ in range(count)])

    # And a savepoint around them.
    assert len(queries) == 2 + 2


def test_sessions_that_write_at_once_wait_for_each_other_and_do_not_fail(
    store, open_session, claimer, in_threads
):
    insert(store, *[new_job() for _ in range(40)])

    def work(session):
        done = 0
        while jobs := claim(session, claimer, 2):
            session.exchange(claimer, [succeeded(job) for job in jobs], NO_ROOM)
            done += len(jobs)
        return done

    assert sum(in_threads(*[partial(work, open_session()) for _ in range(4)])) == 40


def test_read_transaction_of_another_connection_does_not_hold_up_the_session(
    store, session, claimer
):
    [job] = insert(store, new_job())
    reader = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM dj_queue_jobs").fetchone()

    claimed = claim(session, claimer)

    reader.close()
    assert ids(claimed) == [job.id]


def test_database_in_memory_is_refused_with_the_reason():
    on_disk = connection.settings_dict
    connection.settings_dict = {**on_disk, "NAME": ":memory:"}

    try:
        with pytest.raises(UnsupportedDatabase, match="in memory"):
            SQLiteStore("default").open_session("default")
    finally:
        connection.settings_dict = on_disk


@pytest.mark.parametrize(("journal", "inside"), [("wal", 1), ("delete", 2)])
@pytest.mark.django_db(transaction=True)
def test_what_can_be_done_again_does_not_wait_for_the_disk_where_that_breaks_nothing(
    journal, inside
):
    def synchronous():
        with connection.cursor() as cursor:
            return cursor.execute("PRAGMA synchronous").fetchone()[0]

    with connection.cursor() as cursor:
        before = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        cursor.execute("PRAGMA synchronous = 2")
        # Not while another connection is open: one of an earlier test may be about to close.
        wait_until(
            lambda: cursor.execute(f"PRAGMA journal_mode = {journal}").fetchone()[0] == journal
        )
    try:
        with store_for("default").in_no_hurry():
            assert synchronous() == inside
        assert synchronous() == 2
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA journal_mode = {before}")
