"""On PostgreSQL a session's wait ends when another connection makes work for it, and only then."""

import time
from datetime import timedelta
from functools import partial

import pytest
from django.db import transaction

from dj_queue.selectors import parse_selectors
from dj_queue.store import Topic
from tests.store.building import PLENTY, claim, database_clock, ids, insert, new_job
from tests.store.conftest import DEADLINE

SHORT = 0.3
"""Seconds to see that nothing ends a wait; what does end one takes milliseconds."""


@pytest.fixture
def listening(open_session, claimer):
    """A session that serves some queues and has made its connection."""

    def listen(*queues, topic=Topic.READY, backend="default"):
        session = open_session(backend, listen=(topic,), selection=parse_selectors(queues or ["*"]))
        session.promote_due(1)
        # What was said while it connected is not what the test is about.
        session._heard = False
        return session

    return listen


def waited(session, wake, seconds):
    started = time.monotonic()
    assert session.wait(wake, seconds)
    return time.monotonic() - started


def test_session_that_listens_is_woken_by_the_database(listening):
    assert listening().is_woken_by_database


def test_session_that_does_not_listen_is_not_woken_by_the_database(session, claimer):
    claim(session, claimer)

    assert not session.is_woken_by_database


@pytest.mark.parametrize("queues", [["*"], ["mail"], ["ma*"], ["other", "mail"]], ids=",".join)
def test_job_from_another_connection_ends_the_wait(store, listening, wake, in_threads, queues):
    session = listening(*queues)

    seconds, _ = in_threads(
        partial(waited, session, wake, 2 * DEADLINE), lambda: insert(store, new_job("mail"))
    )

    assert seconds < DEADLINE


def test_job_that_came_before_the_wait_ends_it(store, listening, wake):
    session = listening()
    insert(store, new_job())

    assert waited(session, wake, 2 * DEADLINE) < DEADLINE


def test_job_that_came_during_a_statement_ends_the_next_wait(store, listening, claimer, wake):
    session = listening()
    insert(store, new_job())
    # The notification arrives with the answer to this statement, not in the wait.
    session.heartbeat([])

    assert waited(session, wake, 2 * DEADLINE) < DEADLINE


@pytest.mark.parametrize("queues", [["other"], ["mai"], ["mailbox*"]], ids=",".join)
def test_job_for_other_queues_does_not_end_the_wait(store, listening, wake, queues):
    session = listening(*queues)
    insert(store, new_job("mail"))

    assert waited(session, wake, SHORT) >= SHORT * 0.9


def test_job_of_another_backend_does_not_end_the_wait(store, listening, wake):
    session = listening()
    insert(store, new_job(), backend="other")

    assert waited(session, wake, SHORT) >= SHORT * 0.9


def test_scheduled_job_ends_the_wait_of_who_promotes_and_of_nobody_else(store, listening, wake):
    promoter, worker = listening(topic=Topic.SCHEDULED), listening(topic=Topic.READY)
    insert(store, new_job(run_after=database_clock() + timedelta(hours=1)))

    assert waited(promoter, wake, 2 * DEADLINE) < DEADLINE
    assert waited(worker, wake, SHORT) >= SHORT * 0.9


def test_promoted_job_ends_the_wait(store, session, listening, wake):
    insert(store, new_job(run_after=database_clock() + timedelta(seconds=0.05)))
    worker = listening()
    deadline = time.monotonic() + DEADLINE

    while not session.promote_due(10).promoted:
        assert time.monotonic() < deadline

    assert waited(worker, wake, 2 * DEADLINE) < DEADLINE


def test_bulk_of_jobs_ends_the_wait(store, listening, wake):
    session = listening("b")
    insert(store, *[new_job(queue) for queue in "abc" * 10])

    assert waited(session, wake, 2 * DEADLINE) < DEADLINE


def test_job_ends_the_wait_when_its_transaction_commits(store, listening, wake):
    session = listening()

    with transaction.atomic():
        insert(store, new_job())
        before = waited(session, wake, SHORT)
    after = waited(session, wake, 2 * DEADLINE)

    assert before >= SHORT * 0.9
    assert after < DEADLINE


def test_job_that_is_rolled_back_does_not_end_the_wait(store, listening, wake):
    session = listening()

    with transaction.atomic():
        insert(store, new_job())
        transaction.set_rollback(True)

    assert waited(session, wake, SHORT) >= SHORT * 0.9


def test_every_job_of_a_burst_is_found_by_who_is_woken(store, listening, claimer, wake, in_threads):
    session = listening()
    total = 60

    def enqueue():
        for _ in range(total):
            insert(store, new_job())

    def work():
        found, deadline = [], time.monotonic() + DEADLINE
        while len(found) < total and time.monotonic() < deadline:
            session.wait(wake, DEADLINE)
            found += ids(session.exchange(claimer, (), PLENTY).claimed)
        return found

    found, _ = in_threads(work, enqueue)

    assert len(found) == total


def test_wake_from_a_thread_ends_a_wait_that_listens(listening, wake, in_threads):
    session = listening()
    started = time.monotonic()

    is_for_work, _ = in_threads(lambda: session.wait(wake, 2 * DEADLINE), wake.set)

    assert not is_for_work
    assert time.monotonic() - started < DEADLINE


def test_lost_connection_ends_the_wait_with_an_error_and_the_session_listens_again(
    store, listening, claimer, wake, break_connection
):
    from django.db import Error

    session = listening()
    break_connection(session)
    with pytest.raises(Error):
        session.wait(wake, 2 * DEADLINE)
    assert not session.is_woken_by_database

    claim(session, claimer)
    insert(store, new_job())

    assert session.is_woken_by_database
    assert waited(session, wake, 2 * DEADLINE) < DEADLINE
