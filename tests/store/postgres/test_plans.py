"""A claim reads no more rows than it needs, however long the backlog: seen in the plan that ran."""

from itertools import count

import pytest
from django.db import connection

from dj_queue.ids import new_token
from dj_queue.models import Pause
from dj_queue.selectors import parse_selectors
from dj_queue.store import postgres_exchange
from dj_queue.store.records import Room
from tests.store.building import claim

BACKLOG = ("alpha", "beta", "mail-a", "mail-b", "zeta")
ROOM = 10
READY = "dj_queue_ready_executions"


@pytest.fixture
def plan_of_claim(session, make_claimer):
    """Claims, under EXPLAIN, with the statement that `exchange` sends; the nodes of the plan."""

    names = count(1)

    def explain(selectors):
        claimer = make_claimer(selectors, name=f"worker {next(names)}")
        claim(session, claimer, 0)
        selection = parse_selectors(selectors)
        text = postgres_exchange.exchange(
            selection, finishes=False, claims=True, preserves=True, skips_locked=True
        )
        parameters = postgres_exchange.claim_parameters(claimer, Room(ROOM, ROOM), new_token())
        numbers = count(1)
        while "%s" in text:
            text = text.replace("%s", f"${next(numbers)}", 1)
        connection = session._connection
        with connection.transaction(force_rollback=True):
            connection.execute(f"PREPARE claim{claimer.process_id} AS {text}", prepare=False)
            given = ", ".join(_literal(each) for each in parameters)
            explained = connection.execute(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE claim{claimer.process_id}({given})",
                prepare=False,
            ).fetchone()[0][0]["Plan"]
        return list(_nodes(explained))

    return explain


def _literal(parameter):
    return str(parameter) if isinstance(parameter, int) else f"'{parameter}'"


def _nodes(plan):
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _rows(node):
    """The rows that a node gave out or threw away, in all of its runs."""
    removed = sum(
        node.get(each, 0)
        for each in (
            "Rows Removed by Filter",
            "Rows Removed by Index Recheck",
            "Rows Removed by Join Filter",
        )
    )
    return (node["Actual Rows"] + removed) * node["Actual Loops"]


@pytest.mark.parametrize("pause", [None, "beta", "mail-a"])
@pytest.mark.parametrize(
    "selectors",
    [["*"], ["alpha"], ["mail-*"], ["zeta", "mail-*"], ["mail-b", "*"], ["mail-*", "alpha", "*"]],
    ids=",".join,
)
def test_claim_reads_only_what_it_takes(fill_backlog, plan_of_claim, selectors, pause):
    fill_backlog(4000, *BACKLOG)
    if pause:
        Pause.objects.create(queue_name=pause)

    nodes = plan_of_claim(selectors)

    scans = [node for node in nodes if node.get("Relation Name") == READY]
    # Two executors, the best of each queue for each of up to three selectors, and the skip scan.
    most = 2 * ROOM * len(BACKLOG) * 3 + 50
    assert nodes[0]["Actual Rows"] == 2 * ROOM
    assert scans
    assert "Seq Scan" not in {node["Node Type"] for node in scans}
    assert sum(_rows(node) for node in scans) <= most
    assert all(
        _rows(node) <= most for node in nodes if node["Node Type"] in ("Sort", "Incremental Sort")
    )
    # A few pages for each row that is locked, deleted, inserted and fetched; the backlog has hundreds.
    assert nodes[0]["Shared Hit Blocks"] + nodes[0]["Shared Read Blocks"] < 50 * most


@pytest.mark.parametrize("selectors", [["*"], ["mail-*", "*"]], ids=",".join)
def test_longer_backlog_is_not_read_more(fill_backlog, plan_of_claim, selectors):
    read = []
    for each in (200, 4000):
        fill_backlog(each, *BACKLOG)
        nodes = plan_of_claim(selectors)
        read.append(sum(_rows(node) for node in nodes if node.get("Relation Name") == READY))

    assert read[1] <= read[0] * 1.1


@pytest.mark.parametrize("is_analyzed", [False, True])
@pytest.mark.parametrize("queues", [["bulk"], ["bulk", "other"]], ids=",".join)
@pytest.mark.parametrize("selectors", [["rare"], ["rare", "mail"], ["r*"]], ids=",".join)
def test_backlog_of_other_queues_is_not_read(
    fill_backlog, plan_of_claim, selectors, queues, is_analyzed
):
    fill_backlog(20_000, *queues, is_analyzed=is_analyzed)

    nodes = plan_of_claim(selectors)

    scans = [node for node in nodes if node.get("Relation Name") == READY]
    assert sum(_rows(node) for node in scans) < 100


@pytest.mark.parametrize("selectors", [["rare"], ["rare", "mail"], ["r*"]], ids=",".join)
def test_backlog_that_came_after_the_statistics_is_not_read(fill_backlog, plan_of_claim, selectors):
    """A queue is mostly empty when it is vacuumed; for the planner it stays so in a burst."""
    fill_backlog(20_000, "bulk")
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {READY} WHERE id <> (SELECT max(id) FROM {READY})")
        cursor.execute(f"VACUUM (ANALYZE) {READY}")
        cursor.execute(
            f"""
            INSERT INTO {READY} (job_id, backend_alias, queue_name, priority, executor, created_at)
            SELECT gen_random_uuid(), 'default', 'bulk', number % 7 - 3, number / 2 % 2, now()
            FROM generate_series(1, 20000) number
            """
        )

    nodes = plan_of_claim(selectors)

    scans = [node for node in nodes if node.get("Relation Name") == READY]
    assert sum(_rows(node) for node in scans) < 100
