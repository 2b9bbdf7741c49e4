"""The database goes away, or its answer does: nothing is lost and everybody carries on."""

import threading

import pytest
from django.db import connection, connections, transaction

from dj_queue import events
from dj_queue.models import ClaimedExecution, Job, Process
from dj_queue.store import store_for
from dj_queue.store.records import Claimer, Room
from tests.site import runtime_tasks, tasks
from tests.site.runtime_tasks import gate
from tests.waiting import wait_until


def cut_all_connections() -> int:
    """End every other connection to this database, from the server's side; how many there were."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return len(cursor.fetchall())
        cursor.execute(
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
        victims = [row[0] for row in cursor.fetchall()]
        for victim in victims:
            cursor.execute("KILL %s", [victim])
        return len(victims)


@pytest.fixture
def outage():
    """Takes the database away from everybody else for the time of a block."""

    class _Outage:
        def __enter__(self):
            if connection.vendor == "sqlite":
                # Nobody else writes while we do.
                self._lock = transaction.atomic()
                self._lock.__enter__()
                connection.cursor().execute("UPDATE dj_queue_pauses SET queue_name = queue_name")
            else:
                cut_all_connections()

        def __exit__(self, *_):
            if connection.vendor == "sqlite":
                self._lock.__exit__(None, None, None)

    return _Outage()


def test_an_outcome_outlives_the_connection_it_was_to_be_written_on(make_runtime, finished, outage):
    make_runtime(workers=[{"threads": 1}])
    result = runtime_tasks.wait_at.enqueue("job")
    wait_until(gate("job began").is_set)

    with outage:
        gate("job").set()
    finished(result)

    assert result.return_value is True


def test_jobs_run_after_an_outage_without_a_restart(make_runtime, finished, outage):
    runtime = make_runtime()
    finished(tasks.add.enqueue(1, 1), tasks.async_sleep.enqueue(0))

    for _ in range(3):
        with outage:
            pass
        finished(tasks.add.enqueue(1, 1), tasks.async_sleep.enqueue(0))

    assert runtime.is_running


@pytest.mark.only_on("postgresql")
def test_it_is_told_when_the_database_wakes_an_actor_again(make_runtime, outage, caplog):
    caplog.set_level("INFO", logger="dj_queue.supervisor")
    worker = make_runtime().workers[0]
    # Not only connected, but through its first tick.
    wait_until(lambda: worker._hearing._was_woken)

    with outage:
        pass

    def told():
        return {
            record.djq_actor
            for record in caplog.records
            if getattr(record, "event", "") == "notify.restored"
        }

    wait_until(lambda: worker.name in told(), what="notify.restored of the worker")


def test_a_process_that_stops_after_an_outage_takes_its_rows_away(make_runtime, outage):
    """The connection of its registrar has had nothing to do since, and does not know that it is broken."""
    runtime = make_runtime()
    registrar = runtime._registrar
    wait_until(lambda: registrar._heartbeat_at and registrar._busy_since is None)
    assert Process.objects.exists()

    with outage:
        pass
    runtime.stop(5)

    assert not Process.objects.exists()


def test_a_task_whose_connection_died_in_an_earlier_job_gets_a_working_one(
    make_runtime, finished, outage
):
    make_runtime(workers=[{"threads": 1}])
    finished(runtime_tasks.count_rows.enqueue())

    with outage:
        pass
    (result,) = finished(runtime_tasks.count_rows.enqueue())

    assert result.return_value == 2


def test_claims_whose_answer_was_lost_are_given_back_and_run(make_runtime, finished, outage):
    runtime = make_runtime(workers=[{"threads": 1}])
    worker = runtime.workers[0]
    # The first job it sees: it does not know yet that jobs may be short, and takes nothing ahead.
    blocked = runtime_tasks.wait_at.enqueue("job")
    wait_until(gate("job began").is_set)
    lost = [tasks.add.enqueue(n, n) for n in range(3)]
    # What the database did for a claim that the worker never heard back from.
    claimer = Claimer(
        "default", worker.worker.queues, worker._registration.id_of(worker.process_name), "lost"
    )
    with store_for("default").open_session("default") as session:
        assert len(session.exchange(claimer, [], Room(10, 0)).claimed) == 3
    if connection.vendor == "sqlite":
        # Here no answer gets lost: the database is a part of the process. So only say it did.
        worker._may_hold_unknown = True

    with outage:
        gate("job").set()
    finished(blocked, *lost)

    assert not ClaimedExecution.objects.exists()


def test_a_runtime_may_start_before_its_database_does(failures, make_runtime, finished):
    settings = connections.settings["default"]
    name = settings["NAME"]
    settings["NAME"] = str(name) + ("/not/there" if connection.vendor == "sqlite" else "_not_there")
    runtime = make_runtime(started=False)
    try:
        runtime.start()
        wait_until(lambda: failures)
        assert not runtime.wait_until_ready(0)
    finally:
        settings["NAME"] = name
    runtime.stop()

    assert isinstance(failures[0], events.ActorFailed)
    assert failures[0].retry_in.total_seconds() > 0


def test_many_jobs_through_many_outages_run_once_each(make_runtime, outage):
    make_runtime(workers=[{"threads": 4}])
    stop = threading.Event()
    backend = tasks.noop.get_backend()
    backend.enqueue_all([(runtime_tasks.note, (n,), {}) for n in range(1500)])

    for _ in range(8):
        with outage:
            pass
        stop.wait(0.05)
    wait_until(lambda: Job.objects.finished().count() == 1500, seconds=60)

    assert sorted(runtime_tasks.seen()) == list(range(1500))
    assert not ClaimedExecution.objects.exists()
