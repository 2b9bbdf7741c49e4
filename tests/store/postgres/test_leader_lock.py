"""What a leader's and a follower's session do to a PostgreSQL server."""

import os
import socket
import threading
import time

import pytest
from django.db import connection

from dj_queue.store import Topic
from dj_queue.store.locks import SILENCE_SECONDS, Holder
from dj_queue.store.wake import WakeSignal
from tests.store.conftest import DEADLINE
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def make_lock(open_session):
    def make(name, listen=(Topic.SCHEDULED,), role="dispatcher"):
        session = open_session(listen=listen)
        lock = session.leader_lock(role, Holder(name, os.getpid(), socket.gethostname()))
        lock.session = session
        return lock

    return make


def activity(lock, column):
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {column} FROM pg_stat_activity WHERE pid = %s",
            [lock.session._connection.info.backend_pid],
        )
        return cursor.fetchone()[0]


def setting(lock, name):
    return lock.session.run("SELECT current_setting(%s)", (name,))[0][0]


def test_follower_that_waits_holds_back_no_vacuum_and_sends_nothing(make_lock, wake):
    leader, follower = make_lock("leader"), make_lock("follower")
    assert leader.try_acquire()
    assert not follower.try_acquire()
    last = activity(follower, "state_change")
    thread = threading.Thread(target=follower.wait, args=(wake,))
    thread.start()

    until = time.monotonic() + 3
    while time.monotonic() < until:
        leader.beat()
        wake.wait(0.5)
        assert activity(follower, "backend_xmin IS NULL AND backend_xid IS NULL")

    assert thread.is_alive()
    assert activity(follower, "state_change") == last
    wake.set()
    thread.join(DEADLINE)


def test_follower_tries_when_the_leader_was_silent_for_longer_than_between_two_beats(
    make_lock, wake
):
    leader, follower = make_lock("leader"), make_lock("follower")
    assert leader.try_acquire()
    assert not follower.try_acquire()
    started = time.monotonic()

    follower.wait(wake)

    assert leader.beat_seconds < time.monotonic() - started < 2 * PATIENCE


def test_beat_is_one_statement(make_lock, traffic):
    leader = make_lock("leader")
    leader.try_acquire()
    leader.beat()

    assert traffic(leader.session._connection, leader.beat).statements == 1


def test_two_leaders_of_a_process_say_in_turn_that_both_live(make_lock, traffic, wake):
    first, second = make_lock("leader"), make_lock("leader", role="scheduler")
    followers = [make_lock("follower"), make_lock("follower", role="scheduler")]
    assert first.try_acquire()
    assert second.try_acquire()
    for follower in followers:
        assert not follower.try_acquire()
    wakes = [WakeSignal() for _ in followers]
    waiting = [
        threading.Thread(target=each.wait, args=(its,))
        for each, its in zip(followers, wakes, strict=True)
    ]
    for thread in waiting:
        thread.start()

    said = 0
    until = time.monotonic() + 5
    while time.monotonic() < until:
        for lock in (first, second):
            said += traffic(lock.session._connection, lock.beat).statements
        wake.wait(1.0)

    assert all(thread.is_alive() for thread in waiting)
    assert 5 <= said <= 8
    for thread, its in zip(waiting, wakes, strict=True):
        its.set()
        thread.join(DEADLINE)
        its.close()


def test_leader_is_not_spoken_for_when_it_has_given_up(make_lock):
    wake = WakeSignal()
    first, second = make_lock("leader"), make_lock("leader", role="scheduler")
    follower = make_lock("follower", role="scheduler")
    assert first.try_acquire()
    assert second.try_acquire()
    assert not follower.try_acquire()
    second.abandon()
    thread = threading.Thread(target=follower.wait, args=(wake,))
    thread.start()

    until = time.monotonic() + DEADLINE
    while thread.is_alive() and time.monotonic() < until:
        first.beat()
        thread.join(0.2)

    assert not thread.is_alive()
    wake.close()
    assert follower.try_acquire()


def test_server_gives_up_a_leader_that_falls_silent(make_lock, wake):
    leader, follower = make_lock("leader"), make_lock("follower")
    assert leader.try_acquire()
    started = time.monotonic()

    wait_until(follower.try_acquire, seconds=2 * SILENCE_SECONDS)

    assert SILENCE_SECONDS - 1 < time.monotonic() - started < SILENCE_SECONDS + 2 * PATIENCE


def test_settings_of_a_leader_end_with_its_lock(make_lock):
    lock = make_lock("leader")
    assert not lock.session.is_behind_pooler()
    usual = setting(lock, "idle_session_timeout")

    lock.try_acquire()
    assert setting(lock, "idle_session_timeout") == "5s"
    assert setting(lock, "idle_in_transaction_session_timeout") == "5s"
    assert setting(lock, "client_connection_check_interval") == "500ms"

    lock.release()
    assert setting(lock, "idle_session_timeout") == usual


def test_our_end_of_a_cut_connection_is_noticed_too(make_lock):
    lock = make_lock("leader")
    lock.try_acquire()

    assert lock.session._connection.info.get_parameters()["tcp_user_timeout"] == "5000"


def test_follower_hears_of_leaders_and_the_leader_of_scheduled_jobs(make_lock):
    leader, follower = make_lock("leader"), make_lock("follower")
    leader.try_acquire()
    follower.try_acquire()

    def channels(lock):
        return [row[0] for row in lock.session.run("SELECT pg_listening_channels()")]

    assert channels(leader) == [Topic.SCHEDULED]
    assert channels(follower) == [Topic.LEADER]

    leader.release()
    assert wait_until(follower.try_acquire)
    leader.try_acquire()
    assert channels(leader) == [Topic.LEADER]
    assert channels(follower) == [Topic.SCHEDULED]


def test_lock_of_another_schema_is_another_lock(make_lock):
    """Two projects may share a database; what they share of it is a schema."""
    lock = make_lock("leader")
    lock.try_acquire()
    [(space, number)] = lock.session.run(
        "SELECT classid::bigint, objid::bigint FROM pg_locks "
        "WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    )
    [(same,)] = lock.session.run(
        "SELECT ('x' || left(encode(sha256("
        "'public.dj_queue_leaderships:default:dispatcher'), 'hex'), 8))::bit(32)::bigint"
    )

    assert (space, number) == (2129932651, same)
