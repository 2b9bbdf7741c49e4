"""A deadlock or a long wait for a lock runs the session's whole transaction again, never the caller's."""

import threading
import time

import pytest
from django.db import OperationalError, connection, transaction

from dj_queue.models import Job
from dj_queue.states import JobState
from tests.store.building import NO_ROOM, claim, ids, insert, new_job, status, succeeded
from tests.store.conftest import DEADLINE


@pytest.fixture
def other_connection():
    """A connection of Django's beside the thread's own."""
    other = connection.copy()
    other.inc_thread_sharing()
    yield other
    other.close()


def execute(on, statement, *parameters):
    with on.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()


def until_blocked(session, seen_by):
    """Return when the session waits for a lock, as another connection sees it."""
    deadline = time.monotonic() + DEADLINE
    question = (
        "SELECT count(*) FROM information_schema.innodb_trx "
        "WHERE trx_mysql_thread_id = %s AND trx_state = 'LOCK WAIT'"
    )
    number = session._wrapper.connection.thread_id()
    while not execute(seen_by, question, number)[0][0]:
        assert time.monotonic() < deadline
        # The server answers from a cache that it renews only when nobody has asked for 0.1 seconds.
        time.sleep(0.15)


def test_victim_of_a_deadlock_runs_its_transaction_again(
    store, session, claimer, in_threads, other_connection
):
    insert(store, *[new_job() for _ in range(200)])
    jobs = claim(session, claimer)
    first, second, *others = sorted(jobs, key=lambda job: job.id)
    is_locked = threading.Event()
    before = begun(session)

    def lock_second_then_first():
        with transaction.atomic():
            # Who changed most is not chosen as the victim.
            everything = [job.id.hex for job in others]
            execute(connection, "UPDATE dj_queue_jobs SET priority = 9 WHERE id IN %s", everything)
            execute(
                connection, "UPDATE dj_queue_jobs SET priority = 8 WHERE id = %s", second.id.hex
            )
            is_locked.set()
            until_blocked(session, other_connection)
            execute(connection, "UPDATE dj_queue_jobs SET priority = 8 WHERE id = %s", first.id.hex)

    def record_first_and_second():
        assert is_locked.wait(DEADLINE)
        outcomes = [succeeded(first, 1), succeeded(second, 2)]
        return session.exchange(claimer, outcomes, NO_ROOM)

    _, answer = in_threads(lock_second_then_first, record_first_and_second)

    assert list(answer.rejected) == []
    assert [status(first), status(second)] == [JobState.FINISHED] * 2
    assert sorted(Job.objects.values_list("priority", flat=True)) == [8, 8, *[9] * 198]
    assert begun(session) - before >= 2


def begun(session):
    """How many transactions the session has begun."""
    cursor = session._wrapper.connection.cursor()
    cursor.execute("SHOW SESSION STATUS LIKE 'Com_begin'")
    return int(cursor.fetchone()[1])


@pytest.fixture
def taken_id(other_connection):
    """The id of a job that another transaction has inserted and not committed; and its end."""
    job = new_job()
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
    other_connection.set_autocommit(False)
    execute(
        other_connection,
        "INSERT INTO dj_queue_jobs (id, task_path, queue_name, priority, payload, backend_alias, executor, "
        "created_at, updated_at) VALUES (%s, '', '', 0, '{}', '', 0, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))",
        job.id.hex,
    )
    yield job.id
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION innodb_lock_wait_timeout = DEFAULT")


def test_insert_that_waited_too_long_runs_again(
    store, session, claimer, other_connection, taken_id
):
    attempts = []

    def end_the_other_before_the_second(execute, sql, *rest):
        if "INSERT INTO dj_queue_jobs" in sql:
            attempts.append(sql)
            if len(attempts) == 2:
                other_connection.rollback()
        return execute(sql, *rest)

    with connection.execute_wrapper(end_the_other_before_the_second):
        insert(store, new_job(id=taken_id))

    assert len(attempts) == 2
    assert ids(claim(session, claimer)) == [taken_id]


def test_callers_transaction_is_not_run_again(store, other_connection, taken_id):
    attempts = []

    def count(execute, sql, *rest):
        attempts.append(sql) if "INSERT INTO dj_queue_jobs" in sql else None
        return execute(sql, *rest)

    with (
        pytest.raises(OperationalError),
        transaction.atomic(),
        connection.execute_wrapper(count),
    ):
        insert(store, new_job(id=taken_id))

    assert len(attempts) == 1


def test_session_reads_committed_rows_whatever_django_is_told(session, claimer):
    claim(session, claimer)
    cursor = session._wrapper.connection.cursor()

    cursor.execute("SHOW SESSION VARIABLES LIKE '%isolation'")

    assert "READ-COMMITTED" in {value for _, value in cursor.fetchall()}


def test_two_sessions_that_claim_do_not_wait_for_each_other(store, open_session, make_claimer):
    first_job, second_job = insert(store, new_job(), new_job())
    first, second = open_session(), open_session()
    claimer = make_claimer()
    claim(second, make_claimer(["none"], name="none"))
    with first._connected() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT id FROM dj_queue_ready_executions ORDER BY id LIMIT 1 FOR UPDATE")

        claimed = claim(second, claimer)

        cursor.execute("ROLLBACK")
    assert ids(claimed) == [second_job.id]
    assert status(first_job) is JobState.READY
