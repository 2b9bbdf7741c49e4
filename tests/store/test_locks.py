"""The lock of a leader: one session has it, and a session that lost it writes nothing more."""

import os
import socket
import sys
import threading
import time
from datetime import timedelta

import pytest
from django.db import Error, connection

from dj_queue.exceptions import LockLost
from dj_queue.models import Leadership, ScheduledExecution
from dj_queue.store import Topic
from dj_queue.store.locks import PROGRESS_SECONDS, Holder
from tests.store.building import database_clock, insert, new_job
from tests.store.conftest import DEADLINE
from tests.waiting import PATIENCE, wait_until

HOUR = timedelta(hours=1)


@pytest.fixture
def this_process():
    return Holder("name", os.getpid(), socket.gethostname())


@pytest.fixture
def make_lock(open_session, this_process):
    """Opens a session and makes its lock; `lock.session` for what is done under it."""

    def make(name="first", *, role="dispatcher", backend="default", holder=None, listen=None):
        session = open_session(backend, listen=(Topic.SCHEDULED,) if listen is None else listen)
        lock = session.leader_lock(role, holder or this_process._replace(process_name=name))
        lock.session = session
        return lock

    return make


@pytest.fixture
def acquire(make_lock):
    """A lock that is held."""

    def make(*args, **kwargs):
        lock = make_lock(*args, **kwargs)
        assert lock.try_acquire()
        return lock

    return make


@pytest.fixture
def due_job(store):
    """A scheduled job whose time has come."""
    [job] = insert(store, new_job(run_after=database_clock() + HOUR))
    ScheduledExecution.objects.update(scheduled_at=database_clock() - timedelta(seconds=1))
    return job


def work(lock):
    """What a dispatcher does, with how many jobs."""
    with lock.work():
        return lock.session.promote_due(10).promoted


def is_scheduled():
    return ScheduledExecution.objects.exists()


def tell_dead(lock):
    """Where the row is a lease: as if its holder had died, which no connection tells."""
    if connection.vendor == "sqlite":
        Leadership.objects.update(expires_at=database_clock() - timedelta(seconds=1))


def test_only_one_of_two_sessions_has_the_lock(make_lock):
    first, second = make_lock("first"), make_lock("second")

    assert first.try_acquire()
    assert not second.try_acquire()
    assert (first.is_held, second.is_held) == (True, False)


def test_of_many_that_try_at_once_one_has_it(make_lock, in_threads):
    locks = [make_lock(f"process {n}") for n in range(6)]

    taken = in_threads(*[lock.try_acquire for lock in locks])

    assert sorted(taken) == [False] * 5 + [True]
    assert Leadership.objects.get().term == 1


@pytest.mark.parametrize("other", [{"role": "scheduler"}, {"backend": "other"}], ids=str)
def test_other_roles_and_backends_have_locks_of_their_own(acquire, other):
    acquire()

    assert acquire("second", **other).is_held
    assert Leadership.objects.count() == 2


def test_row_tells_who_leads_and_since_when(acquire, this_process):
    before = database_clock()

    lock = acquire("dispatcher-1@here")

    row = Leadership.objects.get()
    assert (row.backend_alias, row.role, row.process_name) == (
        "default", "dispatcher", "dispatcher-1@here",
    )  # fmt: skip
    assert (row.pid, row.hostname) == (this_process.pid, this_process.hostname)
    assert row.term == lock.term == 1
    assert before <= row.since == row.progress_at <= database_clock()
    assert row.expires_at is None or row.expires_at > database_clock()


def test_released_lock_is_free_at_once_and_the_row_says_so(acquire, make_lock):
    lock = acquire()

    lock.release()

    assert not lock.is_held
    assert Leadership.objects.get().expires_at <= database_clock()
    assert make_lock("second").try_acquire()


def test_each_change_of_the_leader_is_a_new_term(acquire):
    first = acquire("first")
    first.release()
    second = acquire("second")

    row = Leadership.objects.get()

    assert (second.term, row.term, row.process_name) == (2, 2, "second")
    assert row.expires_at is None or row.expires_at > database_clock()


def test_holder_can_acquire_again_after_it_released(acquire):
    lock = acquire()
    lock.release()

    assert lock.try_acquire()
    assert lock.term == 2


def test_release_without_holding_is_nothing(acquire, make_lock):
    acquire("first")
    second = make_lock("second")
    second.try_acquire()

    second.release()

    assert Leadership.objects.get().process_name == "first"
    assert not make_lock("third").try_acquire()


def test_leader_works_on_its_session(acquire, due_job):
    assert work(acquire()) == 1
    assert not is_scheduled()


def test_lock_is_free_when_the_session_is_abandoned(acquire, make_lock):
    lock, second = acquire(), make_lock("second")

    lock.abandon()
    tell_dead(lock)

    assert not lock.is_held
    wait_until(second.try_acquire, seconds=DEADLINE)


def test_leader_whose_connection_was_ended_writes_nothing_and_another_leads(
    acquire, make_lock, due_job, break_connection
):
    first, second = acquire("first"), make_lock("second")
    break_connection(first.session)
    tell_dead(first)

    wait_until(second.try_acquire, seconds=DEADLINE)
    with pytest.raises((Error, LockLost)):
        work(first)
    with pytest.raises((Error, LockLost)):
        work(first)

    assert is_scheduled()
    assert work(second) == 1


def test_session_that_lost_its_connection_never_works_on_a_new_one_as_if_it_still_led(
    acquire, make_lock, break_connection, due_job
):
    first, second = acquire("first"), make_lock("second")
    break_connection(first.session)
    tell_dead(first)
    wait_until(second.try_acquire, seconds=DEADLINE)
    with pytest.raises(Error):
        first.session.promote_due(1)

    for _ in range(2):
        with pytest.raises(LockLost):
            first.session.promote_due(1)

    assert is_scheduled()


def test_abandoned_lock_can_be_acquired_again(acquire, break_connection):
    lock = acquire()
    break_connection(lock.session)
    with pytest.raises(Error):
        lock.session.promote_due(1)

    lock.abandon()
    tell_dead(lock)

    assert wait_until(lock.try_acquire, seconds=DEADLINE)
    assert lock.term == 2


def test_work_in_progress_of_a_leader_that_is_replaced_is_not_committed(
    acquire, make_lock, due_job, break_connection
):
    first, second = acquire("first"), make_lock("second")

    def lose_the_lock_while_working():
        with first.work():
            break_connection(first.session)
            tell_dead(first)
            wait_until(second.try_acquire, seconds=DEADLINE)
            first.session.promote_due(10)

    with pytest.raises((Error, LockLost)):
        lose_the_lock_while_working()

    assert is_scheduled()


def test_beat_succeeds_while_the_lock_is_held(acquire):
    lock = acquire()

    for _ in range(3):
        lock.beat()

    assert lock.is_held
    assert 0 < lock.seconds_to_beat <= lock.beat_seconds


def test_beat_fails_when_the_connection_was_ended(acquire, make_lock, break_connection):
    lock = acquire()
    break_connection(lock.session)
    tell_dead(lock)
    wait_until(make_lock("second").try_acquire, seconds=DEADLINE)

    with pytest.raises((Error, LockLost)):
        lock.beat()


def test_progress_is_written_when_it_is_time_and_not_at_each_beat(acquire):
    lock = acquire()
    since = Leadership.objects.get().since
    lock.beat()
    assert Leadership.objects.get().progress_at == since

    lock._next_progress = time.monotonic()
    assert lock.seconds_to_beat == 0
    lock.beat()

    row = Leadership.objects.get()
    assert row.since == since < row.progress_at
    assert lock._next_progress > time.monotonic() + PROGRESS_SECONDS / 2


def test_leader_learns_that_another_has_written_a_later_term(acquire):
    lock = acquire()
    Leadership.objects.update(term=7, process_name="usurper")
    lock._next_progress = time.monotonic()

    with pytest.raises(LockLost):
        lock.beat()

    assert Leadership.objects.get().process_name == "usurper"


def test_leader_whose_row_was_deleted_learns_that_it_leads_no_more(acquire):
    lock = acquire()
    Leadership.objects.all().delete()
    lock._next_progress = time.monotonic()

    with pytest.raises(LockLost):
        lock.beat()


def test_old_leader_does_not_end_the_term_of_the_new_one(acquire, make_lock):
    lock = acquire()
    Leadership.objects.update(term=7, process_name="usurper", expires_at=None)

    try:
        lock.release()
    except LockLost:
        assert connection.vendor == "sqlite"

    assert Leadership.objects.get().expires_at is None


@pytest.fixture
def waiting(make_lock, wake):
    """Makes a follower that waits in a thread; the function ends the wait and says whether it leads."""
    threads = []

    def start(**options):
        lock = make_lock("follower", **options)
        acquired = []

        def follow():
            while not wake.is_set and not acquired:
                if lock.try_acquire():
                    acquired.append(time.monotonic())
                else:
                    lock.wait(wake)

        thread = threading.Thread(target=follow)
        thread.start()
        threads.append(thread)
        lock.acquired = acquired
        lock.thread = thread
        return lock

    yield start
    wake.set()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()


@pytest.mark.parametrize("listen", [None, ()], ids=["listening", "deaf"])
def test_follower_that_waits_leads_soon_after_a_release(acquire, waiting, listen):
    lock = acquire()
    follower = waiting(listen=listen)
    wait_until(follower_waits(follower), seconds=DEADLINE)
    started = time.monotonic()

    lock.release()

    wait_until(lambda: follower.acquired, seconds=DEADLINE)
    assert follower.acquired[0] - started < 2 * PATIENCE


def test_follower_that_waits_leads_within_two_seconds_of_the_death_of_the_leaders_connection(
    acquire, waiting, break_connection
):
    lock = acquire()
    follower = waiting()
    wait_until(follower_waits(follower), seconds=DEADLINE)
    started = time.monotonic()

    break_connection(lock.session)
    tell_dead(lock)

    wait_until(lambda: follower.acquired, seconds=DEADLINE)
    assert follower.acquired[0] - started < 2 * PATIENCE


def test_wake_ends_the_wait_of_a_follower_at_once(acquire, waiting, wake):
    acquire()
    follower = waiting()
    wait_until(follower_waits(follower), seconds=DEADLINE)
    started = time.monotonic()

    wake.set()
    follower.thread.join(DEADLINE)

    assert time.monotonic() - started < 1 * PATIENCE
    assert not follower.acquired


def test_follower_that_was_woken_out_of_its_wait_can_still_become_leader(acquire, make_lock, wake):
    lock, second = acquire(), make_lock("second")
    assert not second.try_acquire()
    wake.set()
    second.wait(wake)
    wake.clear()
    assert not second.try_acquire()

    lock.release()

    assert wait_until(second.try_acquire, seconds=DEADLINE)


def follower_waits(follower):
    """Whether the thread of a follower has come to wait, in the module of its vendor."""

    def waits():
        frame = sys._current_frames().get(follower.thread.ident)
        while frame is not None:
            if frame.f_code.co_name == "wait" and frame.f_code.co_filename.endswith("_lock.py"):
                return True
            frame = frame.f_back
        return False

    return waits
