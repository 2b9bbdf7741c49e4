"""A claim reads no more rows than it needs, however long the backlog: seen in what the server counted."""

import json

import pytest
from django.db import connection

from dj_queue.models import Pause
from dj_queue.store import mysql_sql
from dj_queue.store.records import Room
from tests.store.building import NO_ROOM, claim, succeeded

BACKLOG = ("alpha", "beta", "mail-a", "mail-b", "zeta")
ROOM = 10

SELECTORS = pytest.mark.parametrize(
    "selectors",
    [["*"], ["alpha"], ["mail-*"], ["zeta", "mail-*"], ["mail-b", "*"], ["mail-*", "alpha", "*"]],
    ids=",".join,
)


@pytest.fixture
def rows_read(server_counts, session):
    """How many rows and index entries the server reads for the session while a function runs."""

    def count(function) -> int:
        counts = server_counts(session._wrapper.connection, "Handler_read%", function)
        return sum(counts.values())

    return count


@pytest.mark.parametrize("pause", [None, "beta", "mail-a"])
@SELECTORS
def test_claim_reads_only_what_it_takes(
    fill_backlog, session, make_claimer, rows_read, server_counts, selectors, pause
):
    fill_backlog(4000, *BACKLOG)
    if pause:
        Pause.objects.create(queue_name=pause)
    claimer = make_claimer(selectors)
    # The names of the queues are learnt with the first look.
    claim(session, claimer, Room(1, 1))
    claimed = []

    read = rows_read(lambda: claimed.extend(claim(session, claimer, Room(ROOM, ROOM))))

    # Two executors, the best of each queue for each of up to three selectors; the same again to delete
    # them and to fetch their jobs; and a few for each known name.
    assert len(claimed) == 2 * ROOM
    assert read <= 2 * ROOM * len(BACKLOG) * 3 + 3 * 2 * ROOM + 100


@SELECTORS
def test_longer_backlog_is_not_read_more(fill_backlog, session, make_claimer, rows_read, selectors):
    claimer, read = make_claimer(selectors), []
    for each in (200, 4000):
        fill_backlog(each, *BACKLOG)
        claim(session, claimer, Room(1, 1))
        read.append(rows_read(lambda: claim(session, claimer, Room(ROOM, ROOM))))

    assert read[1] <= read[0] * 1.2


@pytest.mark.parametrize("selectors", [["rare"], ["r*"], ["rare", "r*"]], ids=",".join)
def test_backlog_of_other_queues_is_not_read(
    fill_backlog, session, make_claimer, rows_read, selectors
):
    fill_backlog(20_000, "bulk")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE dj_queue_ready_executions")
        cursor.fetchall()
    claimer = make_claimer(selectors)
    claim(session, claimer)

    assert rows_read(lambda: claim(session, claimer)) < 50


def test_backlog_that_is_paused_is_not_read(fill_backlog, session, claimer, rows_read):
    fill_backlog(20_000, "bulk")
    Pause.objects.create(queue_name="bulk")
    claim(session, claimer)

    assert rows_read(lambda: claim(session, claimer)) < 50


def test_backlog_of_one_executor_is_not_read_for_the_other(
    fill_backlog, session, claimer, rows_read
):
    fill_backlog(20_000, "bulk")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dj_queue_ready_executions SET executor = 0")
    claim(session, claimer, Room(0, 1))

    assert rows_read(lambda: claim(session, claimer, Room(0, 100))) < 50


def test_outcomes_read_only_their_own_rows(fill_backlog, session, claimer, rows_read):
    fill_backlog(4000, *BACKLOG)
    jobs = claim(session, claimer, Room(200, 200))
    outcomes = [succeeded(job) for job in jobs[:20]]

    read = rows_read(lambda: session.exchange(claimer, outcomes, NO_ROOM))

    # Their claims twice, their jobs, and the document that names them. The table of claims is small, and
    # may be read without a lock.
    assert read <= 400 + 20 * 6


@pytest.mark.parametrize("parts", [1, 2, 10])
@pytest.mark.parametrize("by_queue", [False, True])
def test_choice_of_rows_follows_its_index_and_sorts_nothing(
    fill_backlog, session, claimer, parts, by_queue
):
    fill_backlog(4000, *BACKLOG)
    part = ("default", *(("alpha",) if by_queue else ()), 0, ROOM)
    text = mysql_sql.pick(parts, by_queue=by_queue, skips_locked=True)

    plan = explained(text, [value for _ in range(parts) for value in part])

    index = "djq_ready_claim_queue" if by_queue else "djq_ready_claim"
    assert [(row["key"], row["type"]) for row in plan[:parts]] == [(index, "ref")] * parts
    assert not any("filesort" in (row["Extra"] or "") for row in plan)


@pytest.mark.parametrize(
    "name",
    [
        "END_CLAIMS",
        "REMOVE_READY",
        "REMOVE_SCHEDULED",
        "JOBS",
        "KEEP_JOBS",
        "FAIL_JOBS",
        "DELETE_JOBS",
    ],
)
@pytest.mark.parametrize("backlog", [0, 1, 100])
def test_rows_are_found_by_their_key_however_few_there_are(fill_backlog, name, backlog):
    fill_backlog(backlog, "bulk")
    statement = getattr(mysql_sql, name)
    named = [{"id": f"{n:032x}"} if "JOBS" in name else n for n in range(500)]

    plan = explained(statement, [json.dumps(named)])

    assert [row["type"] for row in plan] == ["ALL", "eq_ref"]
    assert (plan[0]["table"], plan[1]["key"]) == ("given", "PRIMARY")


def explained(statement, parameters):
    with connection.cursor() as cursor:
        if not connection.mysql_is_mariadb:
            cursor.execute("SET explain_format = TRADITIONAL")
        cursor.execute(f"EXPLAIN {statement}", parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
