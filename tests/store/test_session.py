"""A session has a connection of its own: made at its first use, and made anew when it broke."""

import threading
import time

import pytest
from django.db import Error, connection, connections, transaction

from dj_queue.models import ClaimedExecution
from dj_queue.states import JobState
from dj_queue.store import Topic
from tests.store.building import (
    NO_ROOM,
    PLENTY,
    claim,
    ids,
    insert,
    new_job,
    status,
    succeeded,
)
from tests.store.conftest import DEADLINE


def test_transaction_of_the_thread_does_not_hold_up_the_session(store, session, claimer):
    [job] = insert(store, new_job())

    with transaction.atomic():
        claimed = claim(session, claimer)
        transaction.set_rollback(True)

    assert ids(claimed) == [job.id]
    assert status(job) is JobState.CLAIMED


def test_session_is_not_among_djangos_connections(session, claimer):
    claim(session, claimer)

    connections.close_all()

    assert claim(session, claimer) == []


def test_session_can_be_opened_by_one_thread_and_used_and_closed_by_another(
    store, open_session, claimer, in_threads
):
    [job] = insert(store, new_job())
    session = open_session()

    def use():
        claimed = claim(session, claimer)
        session.close()
        return ids(claimed)

    assert in_threads(use) == [[job.id]]


def test_session_that_was_used_in_a_thread_can_be_closed_outside_of_it(
    open_session, claimer, in_threads
):
    session = open_session()
    in_threads(lambda: claim(session, claimer))

    session.close()

    assert claim(session, claimer) == []


def test_session_can_be_closed_unused_and_twice(store):
    session = store.open_session("default")

    session.close()
    session.close()


def test_closed_session_connects_again_at_its_next_use(store, session, claimer):
    [job] = insert(store, new_job())
    session.close()

    assert ids(claim(session, claimer)) == [job.id]


def test_session_connects_again_after_its_connection_was_lost(
    store, session, claimer, break_connection
):
    [job] = insert(store, new_job())
    break_connection(session)

    with pytest.raises(Error):
        claim(session, claimer)

    assert ids(claim(session, claimer)) == [job.id]


def test_outcome_can_be_recorded_after_the_connection_was_lost(
    store, session, claimer, break_connection
):
    insert(store, new_job())
    [job] = claim(session, claimer)
    break_connection(session)
    with pytest.raises(Error):
        session.exchange(claimer, [succeeded(job)], NO_ROOM)

    answer = session.exchange(claimer, [succeeded(job)], NO_ROOM)

    assert list(answer.rejected) == []
    assert status(job) is JobState.FINISHED


@pytest.mark.parametrize(
    "use",
    [
        lambda session, claimer: session.release(session.claims_of(claimer.process_id)),
        lambda session, claimer: session.promote_due(10),
        lambda session, claimer: session.heartbeat([claimer.process_id]),
        lambda session, claimer: session.deregister([]) or session.claims_of(1),
    ],
    ids=["release", "promote", "heartbeat", "claims"],
)
def test_every_use_finds_a_new_connection_after_one_error(session, claimer, break_connection, use):
    use(session, claimer)
    break_connection(session)
    with pytest.raises(Error):
        use(session, claimer)

    use(session, claimer)


def test_session_that_lost_its_connection_can_be_closed(session, claimer, break_connection):
    claim(session, claimer)
    break_connection(session)

    session.close()


def test_wait_ends_when_another_thread_wakes_it(session, claimer, wake):
    claim(session, claimer)
    waker = threading.Timer(0.05, wake.set)
    started = time.monotonic()
    waker.start()

    is_for_work = session.wait(wake, DEADLINE * 2)

    waker.join()
    assert not is_for_work
    assert time.monotonic() - started < DEADLINE


def test_wait_does_not_begin_when_it_was_woken_before(session, claimer, wake):
    claim(session, claimer)
    wake.set()
    started = time.monotonic()

    is_for_work = session.wait(wake, DEADLINE * 2)

    assert not is_for_work
    assert time.monotonic() - started < DEADLINE


@pytest.mark.parametrize("listen", [(), (Topic.READY,)])
def test_wait_ends_when_its_time_is_up_and_says_to_look(open_session, claimer, wake, listen):
    session = open_session(listen=listen)
    claim(session, claimer)
    started = time.monotonic()

    is_for_work = session.wait(wake, 0.1)

    assert is_for_work
    assert 0.09 < time.monotonic() - started < DEADLINE


def test_session_that_never_connected_waits_too(open_session, wake):
    session = open_session(listen=(Topic.READY,))

    assert session.wait(wake, 0.01)
    assert not session.is_woken_by_database


def test_failed_statement_leaves_no_transaction_behind(store, session, claimer):
    insert(store, new_job())
    [job] = claim(session, claimer)
    broken = succeeded(job)
    broken.result = "not JSON"
    with pytest.raises(Error):
        session.exchange(claimer, [broken], NO_ROOM)

    # Would wait for the session's locks, or for the one writer.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM dj_queue_claimed_executions")

    assert not ClaimedExecution.objects.exists()
    assert list(session.exchange(claimer, [succeeded(job)], PLENTY).rejected) == [job.id]
