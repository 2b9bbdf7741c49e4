"""What keeps dead rows from being removed is told on PostgreSQL, and elsewhere there is nothing to tell."""

from contextlib import contextmanager
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dj_queue.models import Semaphore
from dj_queue.reads import vacuum
from dj_queue.reads.vacuum import vacuum_problems
from tests.waiting import wait_until

only_on_postgresql = pytest.mark.only_on("postgresql")


@contextmanager
def another_session():
    """A cursor of another session in the test database, outside of any transaction, and its pid."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            [pid] = cursor.fetchone()
            yield cursor, pid
    finally:
        other.close()


def told_of(pid, **thresholds):
    told = vacuum_problems("default", **thresholds)
    return [line for line in told if line.endswith(f"that of the session with pid {pid}")]


@only_on_postgresql
@pytest.mark.parametrize(
    ("begin", "holds"),
    [
        ("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM dj_queue_jobs", True),
        ("BEGIN; CREATE TEMPORARY TABLE written (id int)", True),
        ("BEGIN; SELECT count(*) FROM dj_queue_jobs", False),
        ("SELECT count(*) FROM dj_queue_jobs", False),
    ],
    ids=["with a snapshot", "that has written", "idle at read committed", "none"],
)
def test_an_old_transaction_that_keeps_dead_rows_is_told(begin, holds):
    with another_session() as (other, pid):
        other.execute(begin)

        assert bool(told_of(pid, old=timedelta(0))) is holds
        assert told_of(pid) == []

        other.execute("ROLLBACK")
        assert told_of(pid, old=timedelta(0)) == []


def leave_dead_rows():
    Semaphore.objects.bulk_create(
        Semaphore(key=str(number), value=1, limit=1, expires_at=timezone.now())
        for number in range(200)
    )
    Semaphore.objects.all().delete()
    # A session tells the statistics of its tables about once a second.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")


def bloated(many, without_vacuum=timedelta(0)):
    told = vacuum_problems("default", many_dead_rows=many, without_vacuum=without_vacuum)
    return [line for line in told if line.startswith("table dj_queue_semaphores is bloated: ")]


@only_on_postgresql
def test_a_table_of_dead_rows_is_bloated():
    leave_dead_rows()

    wait_until(lambda: bloated(200))
    assert bloated(1_000_000) == []


@only_on_postgresql
def test_a_table_is_not_bloated_before_a_vacuum_has_had_time_to_come():
    with connection.cursor() as cursor:
        cursor.execute("VACUUM dj_queue_semaphores")
    leave_dead_rows()

    [line] = wait_until(lambda: bloated(200))
    assert "100% of all; it was last vacuumed at " in line
    assert bloated(200, timedelta(minutes=5)) == []


@only_on_postgresql
def test_a_slot_that_holds_nothing_is_not_told():
    with another_session() as (other, pid):
        other.execute(
            "SELECT pg_create_physical_replication_slot(%s, false, true)", [f"dj_queue_{pid}"]
        )

        told = list(vacuum_problems("default", transactions_behind=0))

    assert not any(line.startswith(f"replication slot dj_queue_{pid}") for line in told)


@only_on_postgresql
def test_the_deep_look_of_the_health_command_tells(monkeypatch):
    monkeypatch.setattr(vacuum, "OLD_TRANSACTION", timedelta(0))
    with another_session() as (other, pid):
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")

        with pytest.raises(CommandError, match=f"that of the session with pid {pid}$"):
            call_command("dj_queue_health", "--deep", stdout=StringIO())
        with pytest.raises(CommandError) as without:
            call_command("dj_queue_health", stdout=StringIO())

    assert f"pid {pid}" not in str(without.value)


@pytest.mark.only_on("mysql", "sqlite")
def test_other_databases_are_asked_nothing_and_tell_nothing():
    with CaptureQueriesContext(connection) as asked:
        told = list(vacuum_problems("default", old=timedelta(0), many_dead_rows=0))

    assert told == []
    assert len(asked) == 0
