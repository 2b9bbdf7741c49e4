"""On SQLite a leader that is dead or stopped is replaced before its lease has run out."""

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from dj_queue.models import Leadership
from dj_queue.store.liveness import Identity, Liveness, identity, liveness
from dj_queue.store.locks import SILENCE_SECONDS, Holder
from tests.store.building import database_clock
from tests.store.conftest import DEADLINE
from tests.waiting import PATIENCE, wait_until

HOST = socket.gethostname()


@pytest.fixture
def child():
    """A process that does nothing."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def make_lock(open_session):
    def make(name, pid):
        session = open_session()
        return session.leader_lock("dispatcher", Holder(name, pid, HOST))

    return make


def test_process_is_alive_then_stopped_then_alive_then_dead(child):
    known = identity(child.pid, HOST)
    for number, expected in (
        (signal.SIGCONT, Liveness.ALIVE),
        (signal.SIGSTOP, Liveness.STOPPED),
        (signal.SIGCONT, Liveness.ALIVE),
        (signal.SIGKILL, Liveness.DEAD),
    ):
        child.send_signal(number)
        wait_until(lambda wanted=expected: liveness(known, hostname=HOST) is wanted)
    child.wait(DEADLINE)

    assert liveness(known, hostname=HOST) is Liveness.DEAD


def test_process_that_took_the_number_of_another_is_not_taken_for_it(child):
    known = identity(child.pid, HOST)
    earlier = known._replace(incarnation=f"{known.incarnation.rpartition(':')[0]}:1")

    assert liveness(earlier, hostname=HOST) is Liveness.DEAD


@pytest.mark.parametrize(
    "elsewhere", [{"hostname": "other"}, {"incarnation": "another boot:1:1"}], ids=str
)
def test_nothing_is_known_of_processes_elsewhere(child, elsewhere):
    known: Identity = identity(child.pid, HOST)._replace(**elsewhere)

    assert liveness(known, hostname=HOST) is Liveness.UNKNOWN


def test_dead_leader_is_replaced_at_once(make_lock, child, wake):
    leader, follower = make_lock("leader", child.pid), make_lock("follower", os.getpid())
    assert leader.try_acquire()
    assert not follower.try_acquire()
    child.kill()
    child.wait(DEADLINE)
    started = time.monotonic()

    follower.wait(wake)

    assert follower.try_acquire()
    assert time.monotonic() - started < 2 * PATIENCE
    assert Leadership.objects.get().term == 2


def test_stopped_leader_is_replaced_after_some_seconds(make_lock, child, wake):
    leader, follower = make_lock("leader", child.pid), make_lock("follower", os.getpid())
    assert leader.try_acquire()
    assert not follower.try_acquire()
    child.send_signal(signal.SIGSTOP)
    started = time.monotonic()

    follower.wait(wake)

    assert follower.try_acquire()
    assert SILENCE_SECONDS <= time.monotonic() - started < SILENCE_SECONDS + 3


def test_leader_that_cannot_be_seen_is_replaced_when_its_lease_has_run_out(make_lock, child):
    leader, follower = make_lock("leader", child.pid), make_lock("follower", os.getpid())
    assert leader.try_acquire()
    Leadership.objects.update(hostname="container")
    child.kill()
    child.wait(DEADLINE)
    assert not follower.try_acquire()

    Leadership.objects.update(expires_at=database_clock() - timedelta(seconds=1))

    assert follower.try_acquire()


def test_progress_puts_off_the_end_of_the_lease(make_lock):
    lock = make_lock("leader", os.getpid())
    lock.try_acquire()
    before = Leadership.objects.get().expires_at
    lock._next_progress = 0.0

    lock.beat()

    assert Leadership.objects.get().expires_at > before


def test_leader_that_abandons_its_lease_leaves_it_to_others_at_once(make_lock):
    leader, follower = make_lock("leader", os.getpid()), make_lock("follower", os.getpid())
    assert leader.try_acquire()
    assert not follower.try_acquire()

    leader.abandon()

    assert follower.try_acquire()
