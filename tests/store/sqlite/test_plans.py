"""A claim on SQLite goes by an index and sorts nothing, however long the backlog."""

import pytest
from django.db import connection

from dj_queue.models import Pause
from dj_queue.store.records import Room
from tests.store.building import claim

BACKLOG = ("alpha", "beta", "mail-a", "mail-b", "zeta")
READY = "dj_queue_ready_executions"


@pytest.fixture
def plans(told):
    """How SQLite answers each question about ready rows that the session asks while a function runs."""

    def explain(function):
        found = []
        for statement in told(function):
            if READY in statement and statement.startswith(("SELECT", "WITH")):
                with connection.cursor() as cursor:
                    cursor.execute(f"EXPLAIN QUERY PLAN {statement.replace('%', '%%')}")
                    found.append([row[3] for row in cursor.fetchall()])
        return found

    return explain


@pytest.fixture
def steps(session):
    """How many steps SQLite's machine makes for the session while a function runs, in hundreds."""

    def count(function):
        ticks = []
        session._wrapper.connection.set_progress_handler(lambda: ticks.append(1), 100)
        try:
            function()
        finally:
            session._wrapper.connection.set_progress_handler(None, 0)
        return len(ticks)

    return count


@pytest.mark.parametrize("is_analyzed", [False, True])
@pytest.mark.parametrize("pause", [None, "beta", "mail-a"])
@pytest.mark.parametrize(
    "selectors",
    [["*"], ["alpha"], ["mail-*"], ["zeta", "mail-*"], ["mail-b", "*"], ["rare", "*"]],
    ids=",".join,
)
def test_claim_follows_an_index_and_sorts_nothing(
    fill_backlog, session, make_claimer, plans, analyze, selectors, pause, is_analyzed
):
    fill_backlog(1000, *BACKLOG)
    if pause:
        Pause.objects.create(queue_name=pause)
    if is_analyzed:
        analyze()
    claimer = make_claimer(selectors)

    found = plans(lambda: claim(session, claimer, Room(10, 10)))

    assert len(found) >= 3
    for plan in found:
        assert not any("TEMP B-TREE" in step for step in plan)
        for step in plan:
            if READY in step:
                assert step.startswith(f"SEARCH {READY} USING")


@pytest.mark.parametrize(
    "selectors", [["*"], ["alpha"], ["mail-*"], ["mail-b", "*"], ["rare", "*"]], ids=",".join
)
def test_longer_backlog_costs_no_more(fill_backlog, session, make_claimer, steps, selectors):
    claimer, made = make_claimer(selectors), []
    claim(session, claimer)
    for each in (200, 4000):
        fill_backlog(each, *BACKLOG)
        made.append(steps(lambda: claim(session, claimer, Room(10, 10))))

    assert made[1] <= made[0] * 1.2 + 5


@pytest.mark.parametrize("selectors", [["rare"], ["rare", "r*"]], ids=",".join)
def test_backlog_of_the_only_other_queue_is_not_read(
    fill_backlog, session, make_claimer, steps, analyze, selectors
):
    fill_backlog(20_000, "bulk")
    analyze()
    claimer = make_claimer(selectors)

    assert steps(lambda: claim(session, claimer)) < 50


@pytest.fixture
def analyze():
    """Gathers statistics, which the session sees, and takes them away again."""

    def gather():
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")

    yield gather
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_stat1'")
        if cursor.fetchone()[0]:
            cursor.execute("DELETE FROM sqlite_stat1")
