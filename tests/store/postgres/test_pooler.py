"""Behind a transaction pooler a leader holds a lease, and proves it in each of its transactions."""

import os
import signal
import socket
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone

from dj_queue.exceptions import LockLost
from dj_queue.models import Job, Leadership, Process, ScheduledExecution
from dj_queue.reads.health import deep_problems
from dj_queue.runtime.hearing import Hearing
from dj_queue.store import Topic
from dj_queue.store.locks import Holder
from tests.contrib.pooler import PROGRAM, pgbouncer
from tests.contrib.servers import started
from tests.runtime.conftest import failures, make_runtime  # noqa: F401 - fixtures for this file too
from tests.site import tasks
from tests.store.building import database_clock, insert, new_job
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(
    PROGRAM is None and "CI" not in os.environ, reason="the program pgbouncer is not installed"
)

LEASE_SECONDS = 5
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def pooler(database):
    with pgbouncer() as port:
        yield port


@pytest.fixture
def make_lock(store, open_session, pooler, monkeypatch):
    """A lock of a session behind the pooler, or of one beside it."""

    def make(name="first", *, is_pooled=True):
        with monkeypatch.context() as patch:
            if is_pooled:
                settings = connections["default"].settings_dict
                patch.setitem(settings, "HOST", "127.0.0.1")
                patch.setitem(settings, "PORT", str(pooler))
            session = open_session(listen=(Topic.SCHEDULED,))
        lock = session.leader_lock("dispatcher", Holder(name, os.getpid(), socket.gethostname()))
        lock.session = session
        return lock

    return make


@pytest.fixture
def due_job(store):
    [job] = insert(store, new_job(run_after=database_clock() + timedelta(hours=1)))
    ScheduledExecution.objects.update(scheduled_at=database_clock() - timedelta(seconds=1))
    return job


def work(lock):
    with lock.work():
        return lock.session.promote_due(10).promoted


def end_lease():
    Leadership.objects.update(expires_at=database_clock() - timedelta(seconds=1))


def test_pooler_is_noticed(make_lock):
    assert make_lock().session.is_behind_pooler()
    assert not make_lock(is_pooled=False).session.is_behind_pooler()


def test_deaf_session_is_told_of_once(make_lock, caplog):
    caplog.set_level("INFO", logger="dj_queue.supervisor")
    session, beside = make_lock().session, make_lock(is_pooled=False).session
    hearing = Hearing("default", "dispatcher-1")

    for each in (beside, session, session):
        each.now()
        hearing.worked(each)

    (record,) = [each for each in caplog.records if each.event == "notify.deaf"]
    assert record.djq_actor == "dispatcher-1"


@pytest.mark.parametrize("listens", [True, False])
def test_a_deep_look_names_workers_that_cannot_hear_unless_they_are_not_to(
    pooler,
    make_runtime,  # noqa: F811
    monkeypatch,
    listens,
):
    for name, value in (("HOST", "127.0.0.1"), ("PORT", str(pooler))):
        monkeypatch.setitem(connections["default"].settings_dict, name, value)
    runtime = make_runtime(listen_notify=listens, workers=[{"threads": 1, "polling_interval": 0.1}])
    [name] = [worker.process_name for worker in runtime.workers]
    job = tasks.add.enqueue(1, 2)
    wait_until(Job.objects.finished().filter(id=job.id).exists)

    def told():
        now = database_clock()
        problems = deep_problems("default", "default", now=now, max_age=MINUTE, version=None)
        return [line for line in problems if "cannot wake" in line]

    if listens:
        [line] = wait_until(told)
        assert line.endswith(f"polling_interval: {name}")
        assert Process.objects.get(name=name).metadata["threads"] == 1
    else:
        assert told() == []


def test_session_locks_would_not_do_behind_this_pooler(make_lock):
    """Why there is a lease: two clients get the same session lock, for they share the server's session."""
    first, second = make_lock(), make_lock()
    taken = [
        lock.session.run("SELECT pg_try_advisory_lock(5, 5)")[0][0]
        for lock in (first, second)
        for _ in range(2)
    ]

    assert taken == [True] * 4
    with connection.cursor() as cursor:
        # The pooler keeps it for ever.
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 5"
        )


def test_one_of_two_clients_has_the_lease_and_works(make_lock, due_job):
    first, second = make_lock("first"), make_lock("second")

    assert first.try_acquire()
    assert not second.try_acquire()
    assert work(first) == 1


def test_many_rivals_never_lead_at_the_same_time(make_lock, in_threads):
    locks = [make_lock(f"process {n}") for n in range(4)]
    now_working, worked = [], []

    def stand(lock):
        for _ in range(40):
            if not lock.is_held and not lock.try_acquire():
                continue
            try:
                with lock.work():
                    now_working.append(lock)
                    assert now_working == [lock]
                    lock.session.promote_due(1)
                    now_working.remove(lock)
                worked.append(lock.holder.process_name)
                lock.release()
            except LockLost:
                lock.abandon()

    in_threads(*[lambda lock=lock: stand(lock) for lock in locks])

    assert worked


def test_lease_is_free_after_a_release_and_when_it_has_run_out(make_lock):
    first, second, third = make_lock("first"), make_lock("second"), make_lock("third")
    assert first.try_acquire()

    first.release()
    assert second.try_acquire()
    end_lease()
    assert third.try_acquire()

    assert Leadership.objects.get().term == 3


def test_leader_that_was_replaced_writes_nothing(make_lock, due_job):
    first, second = make_lock("first"), make_lock("second")
    first.try_acquire()
    end_lease()
    second.try_acquire()

    with pytest.raises(LockLost):
        work(first)

    assert ScheduledExecution.objects.exists()
    assert work(second) == 1


def test_work_that_the_next_leader_waits_for_is_whole(make_lock, due_job):
    """Nobody takes the lease in the middle of a transaction, though it has run out."""
    first, second = make_lock("first"), make_lock("second")
    first.try_acquire()
    end_lease()

    with first.work():
        assert not second.try_acquire()
        assert first.session.promote_due(10).promoted == 1

    assert not ScheduledExecution.objects.exists()
    assert second.try_acquire()


def test_beat_renews_the_lease(make_lock):
    lock = make_lock()
    lock.try_acquire()
    before = Leadership.objects.get()
    lock._next_beat = 0.0

    lock.beat()

    after = Leadership.objects.get()
    assert before.since == after.since
    assert before.expires_at < after.expires_at <= database_clock() + timedelta(seconds=5)
    for row in (before, after):
        assert row.expires_at - row.progress_at == timedelta(seconds=LEASE_SECONDS)


def test_leader_with_a_session_lock_is_in_the_way_of_those_behind_the_pooler(make_lock, due_job):
    direct, pooled = make_lock("direct", is_pooled=False), make_lock("pooled")

    assert direct.try_acquire()
    assert not pooled.try_acquire()

    direct.release()
    assert pooled.try_acquire()
    assert direct.try_acquire()
    with pytest.raises(LockLost):
        work(pooled)
    assert work(direct) == 1


def test_process_behind_the_pooler_takes_over_from_one_that_was_killed(
    pooler, tmp_path, monkeypatch
):
    settings = connection.settings_dict
    monkeypatch.setenv(
        "DJ_QUEUE_TEST_DATABASE_URL",
        f"postgres://{settings['USER'] or 'postgres'}@127.0.0.1:{pooler}/any",
    )

    def process(name):
        return started(["-m", "tests.site.tell_leadership"], tmp_path / name, ready="Stop with ^C")

    with process("first") as first:
        wait_until(lambda: Leadership.objects.filter(pid=first.process.pid).exists())
        with process("second") as second:
            wait_until(
                lambda: Process.objects.filter(kind="Dispatcher", pid=second.process.pid).exists()
            )

            first.process.send_signal(signal.SIGKILL)

            wait_until(
                lambda: Leadership.objects.filter(pid=second.process.pid, term=2).exists(),
                seconds=LEASE_SECONDS + 3,
            )
            soon = timezone.now() + timedelta(seconds=0.2)
            result = tasks.add.using(run_after=soon).enqueue(1, 2)
            wait_until(lambda: Job.objects.finished().filter(pk=result.id).exists())
