"""What pages cost the database: how many statements, which plans, and what is kept for a while."""

import json
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dj_queue.admin import rows
from dj_queue.admin.queries import counting, failures, job_list
from dj_queue.config import load_backend_config
from dj_queue.models import ReadyExecution
from dj_queue.reads import counts, kept
from dj_queue.states import JobState
from dj_queue.store import store_for
from tests.admin.test_pages import STATES, address, all_addresses

# Of what there is in `World.everything`. The clock, the login and the transaction come to six more at most.
STATEMENTS = {
    "changelist": 11,
    "queues": 9,
    "jobs": 10,
    "failures": 2,
    "tasks": 1,
    "recurring": 3,
    "processes": 3,
    "limits": 3,
}


@pytest.fixture(autouse=True)
def nothing_kept():
    counting.forget()
    yield
    counting.forget()


def asked(client, url: str) -> list[str]:
    """The statements that read tables, without those that the login needs."""
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url).status_code == 200, url
    reads = [each["sql"] for each in queries if re.search(r"\bFROM\b", each["sql"])]
    return [each for each in reads if not re.search("pg_settings|django_session|auth_user", each)]


@pytest.mark.parametrize("name", STATEMENTS)
def test_each_page_asks_so_many_questions(operator, world, name):
    world.everything()
    operator.get(address(name))

    statements = asked(operator, address(name))

    assert len(statements) == STATEMENTS[name], "\n".join(each[:200] for each in statements)


@pytest.mark.parametrize("state", STATES)
def test_lists_of_jobs_ask_few_questions_in_every_state(operator, world, state):
    world.everything()
    for url in (f"{address('jobs')}?state={state}", f"{address('queue', 'mail')}?state={state}"):
        assert len(asked(operator, url)) <= 13, url


def test_more_queues_and_jobs_are_not_more_questions(operator, world):
    world.everything()
    few = {url: len(asked(operator, url)) for url in all_addresses({})}
    for number in range(30):
        world.ready(queue_name=f"queue-{number}")
        world.failed(queue_name=f"queue-{number}", error=f"builtins.Error{number}")
        world.scheduled(queue_name=f"queue-{number}")

    # A queue has a page of each list, and so has a second look for one that is not full.
    for url, number in few.items():
        assert len(asked(operator, url)) <= number + 2, url


def test_large_numbers_are_counted_once_in_ten_seconds(operator, world, monkeypatch):
    monkeypatch.setattr(counting, "LARGE", 3)
    for _ in range(3):
        world.ready(queue_name="mail")
        world.ready(queue_name="news")
    ReadyExecution.objects.filter(queue_name="news").first().delete()
    shown = ready_by_queue(operator)
    assert (shown["mail"], shown["news"]) == ("3", "2")

    kept_row = ReadyExecution.objects.filter(queue_name="mail").first()
    ReadyExecution.objects.exclude(pk=kept_row.pk).delete()
    world.ready(queue_name="news")
    shown = ready_by_queue(operator)
    assert (shown["mail"], shown["news"]) == ("3", "1")


def test_what_is_kept_is_counted_again_when_its_time_is_over(monkeypatch):
    monkeypatch.setattr(kept, "KEPT_SECONDS", 0.0)
    values = kept.Kept()
    values.keep({"a": 1})
    assert values.known(["a"]) == {}

    monkeypatch.setattr(kept, "KEPT_SECONDS", 60.0)
    values.keep({"b": 2})
    assert values.known(["a", "b"]) == {"b": 2}
    assert list(values._values) == ["b"]


def test_estimates_of_large_queues_are_kept(world, monkeypatch):
    config = load_backend_config("default")
    monkeypatch.setattr(counts, "EXACT", 2)
    monkeypatch.setattr(counts, "LARGE", 3)
    monkeypatch.setattr(type(store_for("default")), "estimated_rows", lambda *_: [40])
    for _ in range(3):
        world.ready()
    assert counts.waiting(config, ["mail"])[JobState.READY]["mail"] == counts.Count(40, False)

    with CaptureQueriesContext(connection) as queries:
        again = counts.waiting(config, ["mail"])[JobState.READY]["mail"]

    assert again == counts.Count(40, False)
    assert "ready_executions" not in queries[0]["sql"]


def ready_by_queue(client) -> dict[str, str]:
    shown = client.get(address("queues")).context["queues"].rows
    return {row.line.name: str(row.line.ready) for row in shown}


# Large enough for an index to be worth while, and much larger than the windows of the test.
_FILL = """
    INSERT INTO dj_queue_jobs (id, task_path, queue_name, priority, payload, backend_alias, executor,
        created_at, updated_at, finished_at)
    SELECT (lpad(to_hex(n), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid, 'tests.site.tasks.add',
        'queue-' || n % 3, 0, '{"args": [], "kwargs": {}}', 'default', 0, now(), now(),
        CASE WHEN n <= 20000 THEN now() END
    FROM generate_series(1, 60000) AS n;
    INSERT INTO dj_queue_ready_executions (job_id, backend_alias, queue_name, priority, executor, created_at)
    SELECT id, 'default', queue_name, 0, 0, now() FROM dj_queue_jobs WHERE finished_at IS NULL LIMIT 20000;
    INSERT INTO dj_queue_failed_executions (job_id, exception_class, message, traceback, created_at)
    SELECT id, 'builtins.ValueError', '', '', now() FROM dj_queue_jobs WHERE finished_at IS NULL
    ORDER BY id DESC LIMIT 20000;
    INSERT INTO dj_queue_statistics (backend_alias, minute, queue_name, task_path, finished, failed, retried,
        duration_sum, wait_sum, {names})
    SELECT 'default', minute, 'queue-' || n, 'tests.site.tasks.add', 1, 1, 1, 1, 1, {ones}
    FROM (SELECT floor(extract(epoch FROM now()) / 60)::bigint AS this) AS now, generate_series(0, 2) AS n,
        LATERAL (
            SELECT this - m AS minute FROM generate_series(0, 10080) AS m
            UNION ALL SELECT -(this / 60 - m) FROM generate_series(0, 168) AS m
            UNION ALL SELECT 0
        ) AS minutes;
    ANALYZE dj_queue_jobs, dj_queue_ready_executions, dj_queue_failed_executions, dj_queue_statistics;
"""
_LARGE = frozenset(
    (
        "dj_queue_jobs",
        "dj_queue_ready_executions",
        "dj_queue_failed_executions",
        "dj_queue_statistics",
    )
)


# The plans of the others are those of the statements of the store.
@pytest.mark.only_on("postgresql")
def test_no_page_reads_a_large_table_to_its_end(operator, monkeypatch, settings):
    settings.DJ_QUEUE_OBSERVABILITY_PUBLIC = True
    monkeypatch.setattr(counts, "EXACT", 200)
    monkeypatch.setattr(counts, "SAMPLE", 200)
    monkeypatch.setattr(rows, "_CAP", 200)
    monkeypatch.setattr(counting, "CAP", 200)
    monkeypatch.setattr(counting, "NEXT", 50)
    monkeypatch.setattr(failures, "WINDOW", 200)
    monkeypatch.setattr(job_list, "WINDOW", 300)
    buckets = [f"{kind}_{number}" for kind in ("duration", "wait") for number in range(13)]
    fill = _FILL.replace("{names}", ", ".join(buckets)).replace(
        "{ones}", ", ".join("1" for _ in buckets)
    )
    with connection.cursor() as cursor:
        cursor.execute(fill)
    job = ReadyExecution.objects.first().job_id
    urls = [
        *all_addresses({}),
        *(f"{address('tasks')}?span={span}" for span in ("6h", "24h", "7d")),
        *(f"{address('changelist')}?span={span}" for span in ("6h", "24h", "7d")),
        f"{address('queue', 'queue-1')}?state=ready&span=7d",
        f"{address('jobs')}?state=finished&task=tests.none&since=2026-01-01",
        f"{address('jobs')}?state=failed&error=builtins.KeyError",
        reverse("admin:dj_queue_job_change", args=[job]),
        reverse("admin:dj_queue_failedexecution_changelist"),
        reverse("dj_queue:stats"),
        reverse("dj_queue:metrics"),
    ]
    read = {url: read_to_the_end(asked(operator, url)) for url in urls}

    assert {url: found for url, found in read.items() if found} == {}


def read_to_the_end(statements: list[str]) -> list[str]:
    """Which large tables the plans of *statements* read row by row, or more than 2,000 rows of."""
    found = []
    for statement in statements:
        if statement.startswith("EXPLAIN"):
            continue
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}")
            plan = cursor.fetchone()[0]
        for node in nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]):
            if node.get("Relation Name") in _LARGE:
                read = node["Actual Rows"] * node["Actual Loops"]
                if (node["Node Type"] == "Seq Scan" and read > 300) or read > 2_000:
                    found.append(f"{node['Node Type']}, {read} rows: {statement}")
    return found


def nodes(plan):
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)
