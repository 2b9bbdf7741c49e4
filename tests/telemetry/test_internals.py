"""With `trace_internals` the work of the runtime has spans, where it found something to do."""

from datetime import timedelta

import pytest
from django.utils import timezone
from opentelemetry.trace import SpanKind

from dj_queue import events
from tests.site import telemetry_tasks
from tests.telemetry.conftest import identity, link_contexts
from tests.waiting import wait_until


@pytest.fixture
def internals(telemetry):
    telemetry({"trace_internals": True})


def test_a_claim_links_to_where_its_jobs_were_enqueued(spans, internals, make_runtime, finished):
    results = [telemetry_tasks.where.enqueue() for _ in range(2)]
    make_runtime()
    finished(*results)

    claims = spans.named("claim default")
    assert sum(span.attributes["messaging.batch.message_count"] for span in claims) == 2
    assert [span.kind for span in claims] == [SpanKind.CLIENT] * len(claims)
    assert all(span.parent is None for span in claims)
    for span in claims:
        assert span.attributes["messaging.operation.type"] == "receive"
        assert span.attributes["messaging.client.id"].startswith("worker-1@")
    assert all(span.end_time >= span.start_time for span in claims)
    linked = [each for span in claims for each in link_contexts(span)]
    assert sorted(linked) == sorted(identity(span) for span in spans.named("enqueue"))


def test_promotion_has_a_span(spans, internals, make_runtime, finished):
    make_runtime()
    result = telemetry_tasks.where.using(
        run_after=timezone.now() + timedelta(seconds=0.3)
    ).enqueue()
    finished(result)

    span = spans.one("dj_queue.dispatch")
    assert span.kind is SpanKind.INTERNAL
    assert span.attributes["dj_queue.rows"] == 1
    assert link_contexts(spans.one("process")) == [identity(spans.one("schedule"))]


def test_recovery_and_retention_have_spans_if_they_moved_rows(spans, internals):
    events.emit(events.ProcessRecovered("default", "x", "error", 0, 0, 0))
    events.emit(events.ProcessRecovered("default", "x", "error", 1, 2, 3))
    events.emit(events.OldJobsCleared("default", 10, 0, 0))

    assert spans.one("dj_queue.recover").attributes["dj_queue.rows"] == 6
    assert spans.one("dj_queue.prune").attributes["dj_queue.rows"] == 10
    for span in spans.all():
        assert span.kind is SpanKind.INTERNAL
        assert span.parent is None


def test_by_default_there_are_none(spans, make_runtime, finished):
    result = telemetry_tasks.where.enqueue()
    make_runtime()
    finished(result)
    wait_until(lambda: spans.named("process"))

    assert {span.name for span in spans.all()} == {"enqueue default", "process default"}
