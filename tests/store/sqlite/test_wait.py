"""A session on SQLite notices that another connection has committed, by the version of the file."""

import time
from functools import partial

import pytest
from django.db import transaction

from dj_queue.models import Pause
from tests.store.building import claim, insert, new_job
from tests.store.conftest import DEADLINE

SHORT = 0.3
"""Seconds to see that nothing ends a wait; what does end one takes at most 20 milliseconds."""


def waited(session, wake, seconds):
    started = time.monotonic()
    assert session.wait(wake, seconds)
    return time.monotonic() - started


def test_session_that_has_connected_is_woken_by_the_database(session, claimer):
    claim(session, claimer)

    assert session.is_woken_by_database


def test_commit_of_another_connection_ends_the_wait(store, session, claimer, wake, in_threads):
    claim(session, claimer)

    seconds, _ = in_threads(
        partial(waited, session, wake, 2 * DEADLINE), lambda: insert(store, new_job())
    )

    assert seconds < DEADLINE


def test_commit_before_the_wait_ends_it(store, session, claimer, wake):
    claim(session, claimer)
    insert(store, new_job())

    assert waited(session, wake, 2 * DEADLINE) < DEADLINE


def test_commit_of_another_session_ends_the_wait(open_session, session, claimer, wake):
    claim(session, claimer)
    open_session().heartbeat([claimer.process_id])

    assert waited(session, wake, 2 * DEADLINE) < DEADLINE


def test_own_commit_does_not_end_the_wait(session, claimer, wake):
    claim(session, claimer)
    session.heartbeat([claimer.process_id])

    assert waited(session, wake, SHORT) >= SHORT * 0.9


def test_one_commit_ends_one_wait(store, session, claimer, wake):
    claim(session, claimer)
    insert(store, new_job())
    waited(session, wake, DEADLINE)

    assert waited(session, wake, SHORT) >= SHORT * 0.9


def test_reading_does_not_end_the_wait(session, claimer, wake):
    claim(session, claimer)
    list(Pause.objects.all())

    assert waited(session, wake, SHORT) >= SHORT * 0.9


def test_transaction_that_is_rolled_back_does_not_end_the_wait(store, session, claimer, wake):
    claim(session, claimer)
    with transaction.atomic():
        insert(store, new_job())
        transaction.set_rollback(True)

    assert waited(session, wake, SHORT) >= SHORT * 0.9


@pytest.mark.parametrize("look", ["claim", "promote"])
def test_commit_between_look_and_wait_is_not_missed(store, session, claimer, wake, look):
    if look == "claim":
        claim(session, claimer)
    else:
        session.promote_due(10)

    insert(store, new_job())

    assert waited(session, wake, 2 * DEADLINE) < DEADLINE
