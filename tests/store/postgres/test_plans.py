"""A statement reads no more rows than it needs, whatever the planner believes: seen in the plan that ran."""

from itertools import count
from uuid import UUID

import pytest
from django.db import connection

from dj_queue.ids import new_token
from dj_queue.models import Pause
from dj_queue.selectors import EVERYTHING, parse_selectors
from dj_queue.store import postgres_exchange
from dj_queue.store import postgres_sql as sql
from dj_queue.store.records import Room
from tests.store.building import claim, failed, insert, new_job, succeeded

BACKLOG = ("alpha", "beta", "mail-a", "mail-b", "zeta")
ROOM = 10
READY = "dj_queue_ready_executions"
CLAIMED, OTHERS = 100, 400
_TABLES_OF_RUNNING = (
    "dj_queue_jobs",
    "dj_queue_claimed_executions",
    "dj_queue_recurring_executions",
)


@pytest.fixture
def plan_of(session):
    """Runs a statement of the session under EXPLAIN, and takes it back; the nodes of the plan."""
    names = count(1)

    def explain(text, parameters):
        name, numbers = f"explained_{next(names)}", count(1)
        while "%s" in text:
            text = text.replace("%s", f"${next(numbers)}", 1)
        session.now()  # It connects at its first use.
        connection = session._connection
        with connection.transaction(force_rollback=True):
            connection.execute(f"PREPARE {name} AS {text}", prepare=False)
            given = ", ".join(_literal(each) for each in parameters)
            explained = connection.execute(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {name}({given})", prepare=False
            ).fetchone()[0][0]["Plan"]
        return list(_nodes(explained))

    return explain


@pytest.fixture
def plan_of_claim(plan_of, session, make_claimer):
    """The nodes of the plan of a claim, with the statement that `exchange` sends."""
    names = count(1)

    def explain(selectors):
        claimer = make_claimer(selectors, name=f"worker {next(names)}")
        claim(session, claimer, 0)
        selection = parse_selectors(selectors)
        text = postgres_exchange.exchange(
            selection, finishes=False, claims=True, preserves=True, skips_locked=True
        )
        parameters = postgres_exchange.claim_parameters(claimer, Room(ROOM, ROOM), new_token())
        return plan_of(text, parameters)

    return explain


def _literal(parameter):
    if parameter is None:
        return "NULL"
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


def _ends(*, preserves):
    return postgres_exchange.exchange(
        EVERYTHING, finishes=True, claims=False, preserves=preserves, skips_locked=True
    )


def _make_running(numbers):
    """Jobs of these numbers, each with its claim and the record of its firing."""
    with connection.cursor() as cursor:
        for table, columns, values in (
            (
                "jobs",
                "id, task_path, queue_name, priority, payload, backend_alias, executor, updated_at",
                "'tests.site.tasks.add', 'default', 0, '{}', 'default', 0, now()",
            ),
            ("claimed_executions", "job_id, token, started_at", "number, now()"),
            (
                "recurring_executions",
                "job_id, backend_alias, task_key, run_at",
                "'default', number::text, now()",
            ),
        ):
            cursor.execute(
                f"""
                INSERT INTO dj_queue_{table} ({columns}, created_at)
                SELECT lpad(to_hex(number), 32, '0')::uuid, {values}, now()
                FROM generate_series(%s, %s) number
                """,
                [numbers[0], numbers[-1]],
            )


@pytest.mark.parametrize("knows", ["few", "many"])
@pytest.mark.parametrize(
    "text",
    [_ends(preserves=True), _ends(preserves=False), sql.FAIL, sql.RELEASE],
    ids=["keep", "delete", "fail", "release"],
)
def test_jobs_that_end_are_looked_up_one_by_one_whatever_the_statistics_say(
    plan_of, fill_backlog, text, knows
):
    """They were made when there were few jobs, or many, and now it is the other way round."""
    fill_backlog(0, "default")
    few, many = range(1, 51), range(51, 3001)
    _make_running(few)
    if knows == "many":
        _make_running(many)
    with connection.cursor() as cursor:
        for table in _TABLES_OF_RUNNING:
            cursor.execute(f"VACUUM (ANALYZE) {table}")
        if knows == "many":
            for table in reversed(_TABLES_OF_RUNNING):
                column = "id" if table == "dj_queue_jobs" else "job_id"
                cursor.execute(f"DELETE FROM {table} WHERE {column} > %s", [UUID(int=few[-1])])
    if knows == "few":
        _make_running(many)
    ended = few[:ROOM]
    ids = "{" + ",".join(str(UUID(int=number)) for number in ended) + "}"
    tokens, times = ("{" + ",".join(map(str, each)) + "}" for each in (ended, [0] * ROOM))
    error = '{"exception_class": "x", "message": "", "traceback": ""}'
    results = chr(31).join([error] * ROOM)
    parameters = (
        [ids, tokens, "{}"] if text is sql.RELEASE else [ids, tokens, times, times, results, "me"]
    )

    nodes = plan_of(text, parameters)

    scans = [node for node in nodes if node.get("Relation Name") in _TABLES_OF_RUNNING]
    assert len(scans) > 1
    assert all(_rows(node) <= len(few) for node in nodes)


@pytest.fixture
def claimed_after_the_statistics(database, store, session, claimer):
    """Jobs that were claimed after statistics that know of nearly no job and no claim."""
    insert(store, *(new_job() for _ in range(CLAIMED + OTHERS)))
    claim(session, claimer)
    with connection.cursor() as cursor:
        for table in ("dj_queue_claimed_executions", "dj_queue_jobs"):
            cursor.execute(f"DELETE FROM {table} WHERE ctid <> (SELECT max(ctid) FROM {table})")
            cursor.execute(f"VACUUM (ANALYZE) {table}")
    insert(store, *(new_job() for _ in range(CLAIMED + OTHERS)))
    return claim(session, claimer, CLAIMED)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [(_ends(preserves=True), succeeded), (_ends(preserves=False), succeeded), (sql.FAIL, failed)],
    ids=["keep", "delete", "fail"],
)
def test_finishing_compares_no_job_with_others(
    claimed_after_the_statistics, plan_of, claimer, text, outcome
):
    jobs = claimed_after_the_statistics
    parameters = postgres_exchange.finish_parameters(claimer, [outcome(job) for job in jobs])

    nodes = plan_of(text, parameters)

    _looks_each_up(nodes, "dj_queue_claimed_executions")
    _looks_each_up(nodes, "dj_queue_jobs")


def test_release_compares_no_job_with_others(claimed_after_the_statistics, plan_of):
    claims = [job.claim for job in claimed_after_the_statistics]
    parameters = [*postgres_exchange.release_parameters(claims), "{}"]

    nodes = plan_of(sql.RELEASE, parameters)

    _looks_each_up(nodes, "dj_queue_claimed_executions")
    _looks_each_up(nodes, "dj_queue_jobs")


def _looks_each_up(nodes, table):
    scans = [
        node for node in nodes if node.get("Relation Name") == table and "Scan" in node["Node Type"]
    ]
    assert sum(_rows(node) for node in scans) == CLAIMED
    assert max(_rows(node) for node in nodes) <= 2 * CLAIMED


def test_promotion_compares_no_job_with_others(database, plan_of):
    table = "dj_queue_scheduled_executions"
    due = f"""
        INSERT INTO {table} (job_id, backend_alias, queue_name, priority, executor, scheduled_at, created_at)
        SELECT gen_random_uuid(), 'default', 'bulk', 0, 0, now(), now()
        FROM generate_series(1, {CLAIMED + OTHERS})
    """
    with connection.cursor() as cursor:
        cursor.execute(due)
        cursor.execute(f"DELETE FROM {table} WHERE id <> (SELECT max(id) FROM {table})")
        cursor.execute(f"VACUUM (ANALYZE) {table}")
        cursor.execute(due)

    nodes = plan_of(sql.PROMOTE, ("default", CLAIMED, "dj_queue_ready", "default"))

    [removed] = [node for node in nodes if node.get("Operation") == "Delete"]
    assert {_rows(node) for node in removed["Plans"]} == {CLAIMED}
    assert max(_rows(node) for node in nodes) <= 2 * CLAIMED
