"""Processes that die or fall silent: what they had begun is recorded, what they had not is ready again."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import F

from dj_queue import events
from dj_queue.api import on_worker_lost
from dj_queue.config import BACKEND_PATH, load_backend_config
from dj_queue.models import ClaimedExecution, FailedExecution, Job, Process, ReadyExecution
from dj_queue.reads.tasks import on_worker_lost as policy_of
from dj_queue.runtime.journal import database_identity
from dj_queue.runtime.recovery import Recovery
from dj_queue.selectors import EVERYTHING
from dj_queue.store import store_for
from dj_queue.store.records import Claimer, ProcessRecord, Room
from tests.contrib.servers import ROOT, started
from tests.site import contrib_tasks, runtime_tasks, tasks
from tests.site.runtime_tasks import gate
from tests.waiting import wait_until

# Keeps the journal of the process NAME, begins the jobs on its command line, and waits for its end.
_PROGRAM = """
import sys, time
from pathlib import Path
from uuid import UUID
from dj_queue.runtime.journal import Journal, Owner
from dj_queue.store.records import Claim
directory, database, name, *claims = sys.argv[1:]
journal = Journal.open(Path(directory), Owner(database, "default", name), capacity=100)
for each in claims:
    job_id, token = each.split(":")
    journal.begin(Claim(UUID(job_id), int(token)))
print("ready", flush=True)
time.sleep(120)
"""


@pytest.fixture
def session():
    with store_for("default").open_session("default") as opened:
        yield opened


@pytest.fixture
def make_recovery(tmp_path):
    """What a living process recovers others with; its own journal is in the folder of the test."""
    journals = []

    def make(**options):
        options = {
            "journal_directory": str(tmp_path),
            "process_heartbeat_interval": 1,
            **options,
        }
        tasks_settings = {"default": {"BACKEND": BACKEND_PATH, "OPTIONS": options}}
        recovery = Recovery(load_backend_config("default", tasks_settings=tasks_settings))
        journals.append(recovery.open_journal(f"me-{len(journals)}", capacity=10))
        # It has been here for long, and looked a moment ago.
        recovery._looked_at = datetime.now(UTC)
        recovery._here_since = recovery._looked_at - timedelta(hours=1)
        return recovery

    yield make
    for journal in journals:
        journal.close(remove=True)


@pytest.fixture
def lost(session, make_recovery, tmp_path):
    """A process that has claimed four jobs and begun the first two of them."""
    tasks.add.get_backend().enqueue_all([(tasks.add, (n, n), {}) for n in range(4)])
    ids = session.register(
        [
            ProcessRecord("lost", "Supervisor", 1, "host"),
            ProcessRecord("lost-worker", "Worker", 1, "host"),
        ]
    )
    claimer = Claimer("default", EVERYTHING, ids["lost-worker"], "lost-worker")
    jobs = session.exchange(claimer, (), Room(4, 0)).claimed
    identity = database_identity("default")
    begun = [f"{job.id}:{job.token}" for job in jobs[:2]]
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(tmp_path), identity, "lost", *begun],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        process.jobs = jobs
        yield process
        process.kill()


@pytest.fixture
def recovered():
    """What was told about processes that were lost."""
    told = []
    unsubscribe = events.subscribe(events.ProcessRecovered, told.append)
    yield told
    unsubscribe()


def kill(process):
    process.kill()
    process.wait(10)


def fall_silent(seconds):
    """Move the last sign of life of every process into the past."""
    Process.objects.update(last_heartbeat_at=F("last_heartbeat_at") - timedelta(seconds=seconds))


def test_of_a_dead_process_what_had_begun_fails_and_the_rest_is_ready(
    lost, session, make_recovery, recovered
):
    kill(lost)

    make_recovery().recover_the_dead(session)

    first, second, third, fourth = [job.id for job in lost.jobs]
    failures = {each.job_id: each for each in FailedExecution.objects.all()}
    assert set(failures) == {first, second}
    assert failures[first].exception_class == "dj_queue.exceptions.ProcessExitError"
    assert "process lost ended while the job ran" in failures[first].message
    assert list(ReadyExecution.objects.order_by("id").values_list("job_id", flat=True)) == [
        third,
        fourth,
    ]
    assert Job.objects.get(id=first).worker_ids == ["lost-worker"]
    assert Job.objects.get(id=third).worker_ids is None
    assert not ClaimedExecution.objects.exists()
    assert not Process.objects.exists()
    assert [(each.released, each.requeued, each.failed) for each in recovered] == [(2, 0, 2)]


def test_a_process_that_lives_is_left_alone(lost, session, make_recovery):
    lost.send_signal(signal.SIGSTOP)

    make_recovery().recover_the_dead(session)

    assert ClaimedExecution.objects.count() == 4


def test_a_second_look_finds_nothing(lost, session, make_recovery, recovered):
    kill(lost)
    recovery = make_recovery()
    recovery.recover_the_dead(session)
    del recovered[:]

    recovery.recover_the_dead(session)
    recovery.prune(session)

    assert recovered == []


def test_begun_jobs_are_tried_again_where_the_backend_says_so(lost, session, make_recovery):
    kill(lost)

    make_recovery(on_worker_lost="requeue").recover_the_dead(session)

    assert not FailedExecution.objects.exists()
    assert ReadyExecution.objects.count() == 4
    job = Job.objects.get(id=lost.jobs[0].id)
    assert job.worker_ids == ["lost-worker"]
    assert [error["exception_class"] for error in job.errors] == [
        "dj_queue.exceptions.ProcessExitError"
    ]
    result = tasks.add.get_backend().get_result(str(job.id))
    assert result.attempts == 1
    assert result.started_at is not None


def test_but_not_for_ever(lost, session, make_recovery):
    loss = {
        "exception_class": "dj_queue.exceptions.ProcessPrunedError",
        "message": "",
        "traceback": "",
    }
    Job.objects.filter(id=lost.jobs[0].id).update(errors=[loss, loss])
    kill(lost)

    make_recovery(on_worker_lost="requeue", max_worker_losses=2).recover_the_dead(session)

    assert [each.job_id for each in FailedExecution.objects.all()] == [lost.jobs[0].id]
    assert len(Job.objects.get(id=lost.jobs[0].id).errors) == 3


def test_a_task_may_say_otherwise(lost, session, make_recovery):
    path = tasks.try_again.module_path
    Job.objects.filter(id=lost.jobs[0].id).update(task_path=path)
    kill(lost)

    make_recovery().recover_the_dead(session)

    assert [each.job_id for each in FailedExecution.objects.all()] == [lost.jobs[1].id]
    assert ReadyExecution.objects.filter(job_id=lost.jobs[0].id).exists()


def test_it_says_so_above_or_below_task_and_in_known_words():
    assert policy_of(tasks.try_again.module_path) == "requeue"
    assert policy_of(tasks.try_again_too.module_path) == "requeue"
    assert policy_of(tasks.add.module_path) is None
    assert policy_of("not.there") is None
    with pytest.raises(ValueError, match="expected 'fail' or 'requeue', found 'retry'"):
        on_worker_lost("retry")


def test_a_silent_process_is_pruned_by_the_clock_of_the_database(
    lost, session, make_recovery, recovered
):
    recovery = make_recovery(process_alive_threshold=60)
    recovery.prune(session)
    assert ClaimedExecution.objects.count() == 4

    fall_silent(61)
    recovery.prune(session)

    # It was stopped on this machine, so its journal can be read.
    assert FailedExecution.objects.count() == 2
    assert ReadyExecution.objects.count() == 2
    assert FailedExecution.objects.first().exception_class.endswith(".ProcessPrunedError")
    assert recovered[0].process == "lost"


def test_who_has_just_come_or_come_back_gives_the_silent_time_to_speak(
    lost, session, make_recovery
):
    recovery = make_recovery(process_alive_threshold=60)
    fall_silent(61)
    recovery._looked_at -= timedelta(seconds=10)

    recovery.prune(session)
    recovery.prune(session)

    assert ClaimedExecution.objects.count() == 4
    recovery._here_since -= timedelta(seconds=31)
    recovery.prune(session)
    assert not ClaimedExecution.objects.exists()


def test_a_claim_that_was_under_way_when_its_process_was_recovered_has_not_begun(
    lost, session, make_recovery
):
    worker = Process.objects.get(name="lost-worker").pk
    late = tasks.add.enqueue(9, 9)
    kill(lost)
    recovery = make_recovery()
    recovery.recover_the_dead(session)
    assert not Process.objects.exists()

    # What the server still had to do for the process when that was killed.
    claimer = Claimer("default", EVERYTHING, worker, "lost-worker")
    (claimed,) = [
        job for job in session.exchange(claimer, (), Room(9, 0)).claimed if str(job.id) == late.id
    ]
    recovery.prune(session)

    assert ReadyExecution.objects.filter(job_id=claimed.id).exists()
    assert not FailedExecution.objects.filter(job_id=claimed.id).exists()


def test_one_that_cannot_be_recovered_does_not_keep_others_waiting(
    lost, session, make_recovery, tmp_path, monkeypatch
):
    kill(lost)
    recovery = make_recovery()
    content = (tmp_path / "lost.journal").read_bytes()
    (tmp_path / "a.journal").write_bytes(content.replace(b'"lost"', b'"aaaa"', 1))
    recover_dead = recovery._recover_dead

    def refuse_the_first(session, orphan):
        if orphan.owner.process_name == "aaaa":
            raise RuntimeError("not this one")
        recover_dead(session, orphan)

    monkeypatch.setattr(recovery, "_recover_dead", refuse_the_first)

    with pytest.raises(RuntimeError, match="not this one"):
        recovery.recover_the_dead(session)

    assert not ClaimedExecution.objects.exists()


def test_a_database_whose_connections_do_not_commit_by_themselves_is_written_to(
    lost, session, make_recovery
):
    kill(lost)
    recovery = make_recovery(on_worker_lost="requeue")
    connection.close()
    connection.settings_dict["AUTOCOMMIT"] = False
    try:
        recovery.recover_the_dead(session)
    finally:
        connection.close()
        connection.settings_dict["AUTOCOMMIT"] = True

    assert ReadyExecution.objects.count() == 4


def test_without_a_journal_whatever_was_claimed_counts_as_begun(
    lost, session, make_recovery, tmp_path
):
    recovery = make_recovery()
    (tmp_path / "lost.journal").unlink()
    fall_silent(301)

    recovery.prune(session)

    assert FailedExecution.objects.count() == 4


def test_claims_of_nobody_are_found(lost, session, make_recovery):
    Process.objects.filter(supervisor__isnull=False).delete()
    Process.objects.all().delete()
    recovery = make_recovery(process_alive_threshold=60)
    recovery.prune(session)
    # They may have a process that is about to register again.
    assert ClaimedExecution.objects.count() == 4

    ClaimedExecution.objects.update(created_at=F("created_at") - timedelta(seconds=61))
    recovery.prune(session)

    assert FailedExecution.objects.count() == 4
    assert FailedExecution.objects.first().exception_class.endswith(".ProcessMissingError")


def test_a_journal_of_another_database_is_left_to_its_own(session, make_recovery, tmp_path, lost):
    kill(lost)
    recovery = make_recovery()
    path = tmp_path / "lost.journal"
    path.write_bytes(path.read_bytes().replace(b'["', b'["other ', 1))

    recovery.recover_the_dead(session)

    assert path.exists()
    assert ClaimedExecution.objects.count() == 4


def test_nothing_is_asked_of_the_database_while_nobody_died(session, make_recovery):
    recovery = make_recovery()
    session.close()
    settings = connection.settings_dict
    name, settings["NAME"] = settings["NAME"], "/not/there"
    try:
        recovery.recover_the_dead(session)
    finally:
        settings["NAME"] = name


def test_a_killed_process_is_recovered_by_its_neighbour_within_two_seconds(tmp_path):
    with _command(tmp_path / "first") as first:
        running = begin_long_job(tmp_path)
        with _command(tmp_path / "second", workers=[{"queues": "second"}]) as second:
            # A neighbour that is up, and not one that is about to start its threads.
            assert_runs_jobs_of("second")
            os.kill(first.process.pid, signal.SIGKILL)
            # On a busy machine that takes a while, and until then nobody can know of it.
            first.process.wait(10)

            failure = wait_until(FailedExecution.objects.first, seconds=2)
            # Said when all of it is done, and the failure is the first that is seen of that.
            wait_until(lambda: "was lost" in second.output)
            assert_runs_jobs_of("second")

    assert str(failure.job_id) == running.id
    assert failure.exception_class == "dj_queue.exceptions.ProcessExitError"


def assert_runs_jobs_of(queue):
    done = tasks.add.using(queue_name=queue).enqueue(1, 2)
    wait_until(Job.objects.filter(id=done.id).finished().exists)


def test_a_node_that_was_killed_and_starts_again_resolves_what_it_left(tmp_path):
    with _command(tmp_path / "first") as first:
        begin_long_job(tmp_path)
        os.kill(first.process.pid, signal.SIGKILL)
    with _command(tmp_path / "second") as second:
        wait_until(Process.objects.filter(pid=second.process.pid).exists)

        wait_until(lambda: FailedExecution.objects.exists(), seconds=2, what=second.output)
    assert not ClaimedExecution.objects.exists()


def test_a_process_whose_rows_are_gone_registers_again_and_goes_on(make_runtime):
    runtime = make_runtime(process_heartbeat_interval=0.2)
    running = runtime_tasks.wait_at.enqueue("job")
    wait_until(gate("job began").is_set)
    before = set(Process.objects.values_list("id", flat=True))

    Process.objects.update(supervisor=None)
    Process.objects.filter(id__in=before).delete()

    wait_until(lambda: Process.objects.count() == len(before))
    gate("job").set()
    wait_until(Job.objects.filter(id=running.id).finished().exists)
    later = tasks.add.enqueue(1, 1)
    wait_until(Job.objects.filter(id=later.id).finished().exists)
    assert runtime.is_running


def test_a_stopped_process_that_comes_back_starts_nothing_that_is_not_its_own(tmp_path):
    options = {"process_heartbeat_interval": 0.2, "process_alive_threshold": 1.5}
    with (
        _command(tmp_path / "first", **options) as stopped,
        _command(tmp_path / "second", **options) as alive,
    ):
        wait_until(lambda: Process.objects.filter(kind="Supervisor").count() == 2)
        backend = tasks.add.get_backend()
        backend.enqueue_all(
            [(contrib_tasks.note_in_file, (str(tmp_path / "ledger"), n), {}) for n in range(300)]
        )
        wait_until(lambda: Job.objects.finished().count() > 20)
        stop(stopped.process)
        wait_until(lambda: Process.objects.filter(kind="Supervisor").count() == 1)
        wait_until(
            lambda: not ReadyExecution.objects.exists() and not ClaimedExecution.objects.exists()
        )
        os.kill(stopped.process.pid, signal.SIGCONT)
        wait_until(lambda: Process.objects.filter(kind="Supervisor").count() == 2)
        more = tasks.add.enqueue(1, 1)
        wait_until(Job.objects.filter(id=more.id).finished().exists)

    began = (tmp_path / "ledger").read_text().split()
    assert len(began) == len(set(began))
    failed = {
        str(payload["args"][1])
        for payload in Job.objects.failed().values_list("payload", flat=True)
    }
    assert failed <= set(began)
    assert set(began) == set(map(str, range(300)))
    assert alive.output


def begin_long_job(directory):
    """Enqueue a job and see it begin, which is later than being claimed."""
    result = contrib_tasks.note_in_file.enqueue(str(directory / "ledger"), "long", 60)
    wait_until((directory / "ledger").exists)
    return result


def stop(process):
    """Stop *process* in its tracks, but not inside of a transaction: its locks would stop others too."""

    def is_stopped_outside():
        process.send_signal(signal.SIGSTOP)
        if not _holds_locks():
            return True
        process.send_signal(signal.SIGCONT)
        return False

    wait_until(is_stopped_outside)


def _holds_locks():
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA busy_timeout = 300")
        try:
            with transaction.atomic():
                Process.objects.filter(pk=0).update(pid=0)
                for model in (ClaimedExecution, ReadyExecution, Process):
                    list(model.objects.select_for_update(nowait=True))
        except OperationalError:
            return True
        finally:
            if connection.vendor == "sqlite":
                cursor.execute("PRAGMA busy_timeout = 20000")
    return False


def _command(log, **options):
    return started(["-m", "django", "dj_queue"], log, ready="Stop with ^C", **options)
