"""Of several processes one makes scheduled jobs ready, and whatever happens to it, soon another does."""

import signal
import struct
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from dj_queue import events
from dj_queue.models import Job, Leadership, Process, ScheduledExecution
from dj_queue.runtime.dispatcher import Dispatcher
from dj_queue.store import Topic
from dj_queue.store.locks import LeaderLock
from tests.contrib.servers import started
from tests.site import runtime_tasks, tasks
from tests.waiting import PATIENCE, wait_until

# Followers of MySQL; the driver does not let another thread ask for their connections.
WAITING = (
    "information_schema.processlist WHERE db = DATABASE() AND info LIKE 'SELECT GET_LOCK(%%' "
    "AND command = 'Query' AND id <> CONNECTION_ID()"
)

BEATS = 3.5
"""Seconds in which a leader says several times that it lives."""


@pytest.fixture
def told():
    """The changes of dispatchers that lead in this process, as they happened."""
    seen = []

    def note(event):
        if event.role == "dispatcher":
            seen.append(event)

    ends = [
        events.subscribe(kind, note) for kind in (events.LeadershipGained, events.LeadershipLost)
    ]
    yield seen
    for end in ends:
        end()


def process(log, **options):
    """A process that runs jobs, and dispatches while it leads."""
    return started(["-m", "tests.site.tell_leadership"], log, ready="Stop with ^C", **options)


def leading_pid():
    row = Leadership.objects.filter(role="dispatcher").first()
    if row is None or (row.expires_at is not None and row.expires_at <= timezone.now()):
        return None
    return row.pid


def leads(server):
    return lambda: leading_pid() == server.process.pid


def is_registered(server):
    return lambda: Process.objects.filter(kind="Dispatcher", pid=server.process.pid).exists()


def run_soon():
    """A job that a dispatcher has to make ready."""
    return tasks.add.using(run_after=timezone.now() + timedelta(seconds=0.2)).enqueue(1, 2)


def test_another_process_leads_within_two_seconds_of_kill_9(tmp_path, finished):
    with process(tmp_path / "first") as first:
        wait_until(leads(first))
        with process(tmp_path / "second") as second:
            wait_until(is_registered(second))

            first.process.kill()

            wait_until(leads(second), seconds=2)
            [result] = finished(run_soon())
            assert result.return_value == 3
            assert Leadership.objects.get(role="dispatcher").term == 2


def test_another_process_leads_at_once_when_the_leader_stops(tmp_path):
    with process(tmp_path / "first") as first:
        wait_until(leads(first))
        with process(tmp_path / "second") as second:
            wait_until(is_registered(second))

            started_at = time.monotonic()
            first.process.send_signal(signal.SIGTERM)

            wait_until(leads(second), seconds=2)
            assert first.process.wait(10) == 0
            assert time.monotonic() - started_at < 10 * PATIENCE
            assert "lost term 1: it stops." in first.output


def test_stopped_leader_is_replaced_within_ten_seconds_and_follows_when_it_goes_on(
    tmp_path, finished
):
    with process(tmp_path / "first") as first, process(tmp_path / "second") as second:
        wait_until(lambda: leading_pid() is not None)
        if leads(second)():
            first, second = second, first
        wait_until(is_registered(second))

        first.process.send_signal(signal.SIGSTOP)
        wait_until(leads(second), seconds=10)
        finished(run_soon())
        row = Leadership.objects.get(role="dispatcher")

        first.process.send_signal(signal.SIGCONT)
        wait_until(lambda: "lost term 1" in first.output, seconds=10)

        # It has written nothing, not even that it stopped leading.
        after = Leadership.objects.get(role="dispatcher")
        assert (after.term, after.since, after.process_name) == (2, row.since, row.process_name)
        assert after.expires_at is None or after.expires_at > timezone.now()
        assert first.output.count("gained") == second.output.count("gained") == 1

        second.process.kill()
        wait_until(leads(first), seconds=10)
        finished(run_soon())
        assert Leadership.objects.get(role="dispatcher").term == 3


def test_process_without_a_dispatcher_never_stands(tmp_path):
    with process(tmp_path / "log", dispatchers=[]) as server:
        wait_until(lambda: Process.objects.filter(pid=server.process.pid).exists())
        result = tasks.add.enqueue(1, 2)
        wait_until(lambda: Job.objects.finished().filter(pk=result.id).exists())

    assert not Leadership.objects.filter(role="dispatcher").exists()


def leader_and_follower(make_runtime, **options):
    """Two runtimes in this process; the first leads."""
    runtimes = [make_runtime(**options) for _ in range(2)]
    dispatchers = [runtime.dispatchers[0] for runtime in runtimes]
    wait_until(lambda: any(each.is_leader for each in dispatchers))
    if dispatchers[1].is_leader:
        runtimes.reverse()
    wait_until(lambda: is_following(runtimes[1].dispatchers[0]))
    return runtimes


def is_following(dispatcher):
    session = dispatcher._session
    return not dispatcher.is_leader and session is not None and server_says_it_waits(session)


def server_says_it_waits(session):
    if connection.vendor == "postgresql":
        raw = session._connection
        return raw is not None and one(
            "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = %s", raw.info.backend_pid
        )
    if connection.vendor == "mysql":
        return one(f"SELECT count(*) FROM {WAITING}")
    return session._wrapper.connection is not None


def one(statement, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row = cursor.fetchone()
    return row is not None and row[0]


def test_one_of_two_runtimes_leads_and_says_so(make_runtime, told):
    first, second = leader_and_follower(make_runtime)

    [gained] = told
    row = Leadership.objects.get(role="dispatcher")
    assert isinstance(gained, events.LeadershipGained)
    assert (gained.backend, gained.role, gained.term) == ("default", "dispatcher", 1)
    assert gained.process == row.process_name == first.dispatchers[0].holder.process_name
    assert not second.dispatchers[0].is_leader


def test_runtime_that_stops_hands_over_and_says_so(make_runtime, told):
    first, second = leader_and_follower(make_runtime)

    first.stop(5)

    wait_until(lambda: second.dispatchers[0].is_leader, seconds=2)
    kinds = [type(event) for event in told]
    assert kinds == [events.LeadershipGained, events.LeadershipLost, events.LeadershipGained]
    assert told[1].reason == "it stops"
    assert [event.term for event in told] == [1, 1, 2]


def test_follower_stops_in_time_while_it_waits(make_runtime):
    _, second = leader_and_follower(make_runtime)
    started_at = time.monotonic()

    assert second.stop(5)

    assert time.monotonic() - started_at < 3 * PATIENCE


def test_runtime_that_is_about_to_stop_hands_over_and_does_not_stand_again(make_runtime):
    first, second = leader_and_follower(make_runtime)

    first.quiesce()
    wait_until(lambda: second.dispatchers[0].is_leader, seconds=2)
    second.stop(5)

    wait_until(lambda: leading_pid() is None)
    assert not first.dispatchers[0].is_leader
    # A runtime that may stand does.
    third = make_runtime()
    wait_until(lambda: third.dispatchers[0].is_leader)
    assert not first.dispatchers[0].is_leader


def test_leader_whose_connection_ends_steps_down_and_somebody_leads_soon(
    make_runtime, told, failures, finished
):
    first, second = leader_and_follower(make_runtime)
    dispatcher = first.dispatchers[0]

    if connection.vendor == "sqlite":
        Leadership.objects.all().delete()
    else:
        end_connection(dispatcher._session, dispatcher._leader_lock)

    wait_until(lambda: len(told) == 3)
    # In either order where it is the row that decides.
    assert {type(event).__name__ for event in told[1:]} == {"LeadershipLost", "LeadershipGained"}
    wait_until(lambda: first.dispatchers[0].is_leader or second.dispatchers[0].is_leader)
    finished(run_soon())


def end_connection(session, lock):
    if connection.vendor == "postgresql":
        one("SELECT pg_terminate_backend(%s)", session._connection.info.backend_pid)
    else:
        with connection.cursor() as cursor:
            cursor.execute("KILL %s", [one("SELECT IS_USED_LOCK(%s)", lock._name)])


def test_leader_that_fails_at_its_work_steps_down(make_runtime, told, failures, monkeypatch):
    first, second = leader_and_follower(make_runtime)

    def fail(session):
        raise RuntimeError("broken")

    monkeypatch.setattr(first.dispatchers[0], "lead", fail)
    first.dispatchers[0].call()

    wait_until(lambda: second.dispatchers[0].is_leader)
    assert told[1].reason == "it failed"
    assert str(failures[0].error) == "broken"


def test_job_that_is_scheduled_beside_a_follower_wakes_the_leader(make_runtime, finished):
    """Where the database can call; elsewhere the leader looks at its interval."""
    leader, _ = leader_and_follower(make_runtime, dispatchers=[{"polling_interval": 0.5}])
    leader._unsubscribe.pop(1)()  # It hears of it only through the database.

    [result] = finished(run_soon(), seconds=5)

    # Not the safety poll, which comes after 15 s.
    assert result.return_value == 3


def test_earlier_job_wakes_the_leader_that_waits_for_a_later_one(make_runtime, finished):
    leader_and_follower(make_runtime)
    later = timezone.now() + timedelta(hours=1)
    tasks.add.using(run_after=later).enqueue(1, 1)

    [result] = finished(run_soon(), seconds=5)

    assert result.return_value == 3
    assert ScheduledExecution.objects.count() == 1


def test_idle_follower_asks_the_database_nothing(make_runtime):
    leader, follower = leader_and_follower(make_runtime, workers=[])
    asked = statements_of(follower.dispatchers[0]._session)
    changes = changes_of_file()

    wait_for_beats(leader.dispatchers[0])

    # On SQLite a change of the file, such as that a process was registered, makes it look once.
    assert asked() <= changes()
    assert not follower.dispatchers[0].is_leader


def test_idle_leader_sends_about_one_statement_a_second(make_runtime, monkeypatch):
    leader, _ = leader_and_follower(make_runtime, workers=[])
    beats = count_calls(monkeypatch, leader.dispatchers[0]._leader_lock, "_prove")
    looks = count_calls(monkeypatch, leader.dispatchers[0], "lead")

    wait_for_beats(leader.dispatchers[0])

    assert 1 <= len(beats) + len(looks) <= BEATS + 2


def wait_for_beats(dispatcher):
    until = time.monotonic() + BEATS
    wait_until(lambda: time.monotonic() > until)
    assert dispatcher.is_leader


def changes_of_file():
    """How often SQLite's file has been written to from now on, and once before; elsewhere 0."""
    if connection.vendor != "sqlite":
        return lambda: 0
    assert one("PRAGMA journal_mode") == "wal"
    index = Path(f"{connection.settings_dict['NAME']}-shm")

    def transactions():
        # The third number of the index of the log (https://sqlite.org/walformat.html#walidxfmt). Not read in
        # this process: when that closed the file, it would give up the locks that SQLite has on it.
        head = subprocess.check_output(["head", "--bytes=12", index])
        return struct.unpack_from("=I", head, 8)[0]

    before = transactions()
    return lambda: 1 + transactions() - before


def count_calls(monkeypatch, owner, name):
    calls, real = [], getattr(owner, name)

    def counted(*args, **kwargs):
        calls.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return calls


def statements_of(session):
    """How many statements of a session the database has seen since now."""
    if connection.vendor == "postgresql":
        pid = session._connection.info.backend_pid
        text = "SELECT state_change::text FROM pg_stat_activity WHERE pid = %s"
        before = one(text, pid)
        return lambda: int(one(text, pid) != before)
    if connection.vendor == "mysql":
        # It waits in one statement; a new one would not be that old.
        since = time.monotonic()
        return lambda: int(
            one(f"SELECT max(time) FROM {WAITING}") < int(time.monotonic() - since) - 1
        )
    seen = []
    session._wrapper.connection.set_trace_callback(seen.append)
    return lambda: len([each for each in seen if each != "PRAGMA data_version"])


class Forced(LeaderLock):
    """A lock that everybody has."""

    beat_seconds = 1.0

    def wait(self, wake):
        raise AssertionError("nobody waits for this lock")

    def release(self):
        self.term = None

    abandon = release

    def _take(self):
        return 1

    def _prove(self, *, tells_progress):
        pass


def test_with_two_leaders_each_scheduled_job_becomes_ready_and_runs_once(make_runtime, monkeypatch):
    def forced(dispatcher, session):
        if Topic.SCHEDULED in getattr(session, "topics", ()):
            assert session.topics == (Topic.SCHEDULED,)
        return Forced(dispatcher.backend_alias, dispatcher.role, dispatcher.holder)

    monkeypatch.setattr(Dispatcher, "make_lock", forced)
    runtimes = [make_runtime(dispatchers=[{"batch_size": 7}]) for _ in range(2)]
    wait_until(lambda: all(runtime.dispatchers[0].is_leader for runtime in runtimes))
    promoted = []
    end = events.subscribe(events.JobsPromoted, lambda event: promoted.append(event.count))
    soon = timezone.now() + timedelta(seconds=1)

    backend = runtime_tasks.note.get_backend()
    backend.enqueue_all(
        [
            (runtime_tasks.note.using(run_after=soon + timedelta(milliseconds=n)), (n,), {})
            for n in range(400)
        ]
    )

    wait_until(lambda: Job.objects.finished().count() == 400, seconds=30)
    end()
    assert sorted(runtime_tasks.seen()) == list(range(400))
    assert sum(promoted) == 400
