"""What is enqueued has a PRODUCER span, whose context is in the job's row."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.tasks import task_backends
from django.utils import timezone
from opentelemetry import baggage, context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, TraceFlags

from dj_queue import tracing
from dj_queue.config import backend_config
from dj_queue.models import Job
from dj_queue.operations.enqueue import enqueue
from dj_queue.telemetry import providers
from tests.site import tasks, telemetry_tasks
from tests.telemetry.conftest import identity, link_contexts, traceparent_of


def job_of(result):
    return Job.objects.get(pk=result.id)


def test_a_producer_span_describes_the_job(spans):
    result = telemetry_tasks.where.using(priority=7, queue_name="mail").enqueue()

    span = spans.one("enqueue mail")
    assert span.kind is SpanKind.PRODUCER
    assert span.parent is None
    assert span.status.status_code is StatusCode.UNSET
    server = {key: value for key, value in span.attributes.items() if key.startswith("server.")}
    assert {**span.attributes} == {
        "messaging.system": "dj_queue",
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "send",
        "messaging.destination.name": "mail",
        "messaging.message.id": result.id,
        "dj_queue.backend": "default",
        "dj_queue.task.name": "tests.site.telemetry_tasks.where",
        "dj_queue.job.priority": 7,
        **server,
    }
    assert span.instrumentation_scope.name == "dj_queue"
    assert span.instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.44.0"


def test_the_server_is_named_where_it_is_reached_by_a_network(spans):
    telemetry_tasks.where.enqueue()

    found = spans.one("enqueue").attributes
    host = connection.settings_dict["HOST"]
    assert found.get("server.address", "") == host
    assert ("server.port" in found) is bool(host)


def test_the_span_is_a_child_of_the_request_and_its_context_is_in_the_row(spans, tracer):
    with tracer.start_as_current_span("request") as request:
        result = telemetry_tasks.where.enqueue()

    span = spans.one("enqueue")
    assert span.parent.span_id == request.get_span_context().span_id
    assert job_of(result).trace_context == {"traceparent": traceparent_of(span)}


def test_a_scheduled_job_is_scheduled_in_its_span(spans):
    run_after = timezone.now() + timedelta(hours=1)

    result = telemetry_tasks.where.using(run_after=run_after).enqueue()

    span = spans.one("schedule default")
    assert span.attributes["messaging.operation.name"] == "schedule"
    assert span.attributes["dj_queue.job.scheduled_at"] == run_after.isoformat()
    assert job_of(result).trace_context == {"traceparent": traceparent_of(span)}


def test_a_bulk_enqueue_is_one_span_whose_context_all_jobs_share(spans):
    calls = [(telemetry_tasks.where, (), {}) for _ in range(5)]

    results = task_backends["default"].enqueue_all(calls)

    span = spans.one("enqueue default")
    assert span.kind is SpanKind.PRODUCER
    assert span.attributes["messaging.batch.message_count"] == 5
    assert "messaging.message.id" not in span.attributes
    carriers = [job_of(result).trace_context for result in results]
    assert carriers == [{"traceparent": traceparent_of(span)}] * 5


def test_a_bulk_enqueue_into_several_queues_names_none(spans):
    calls = [(telemetry_tasks.where.using(queue_name=name), (), {}) for name in ("a", "b")]

    task_backends["default"].enqueue_all(calls)

    span = spans.one("enqueue")
    assert span.name == "enqueue"
    assert "messaging.destination.name" not in span.attributes
    assert span.attributes["dj_queue.task.name"] == "tests.site.telemetry_tasks.where"


def test_create_spans_gives_each_job_of_a_bulk_a_span_of_its_own(spans, telemetry):
    telemetry({"create_spans": True})
    calls = [(telemetry_tasks.where, (), {}) for _ in range(3)]

    results = task_backends["default"].enqueue_all(calls)

    bulk = spans.one("enqueue default")
    created = spans.named("create default")
    assert bulk.kind is SpanKind.CLIENT
    assert [span.kind for span in created] == [SpanKind.PRODUCER] * 3
    assert [span.attributes["messaging.message.id"] for span in created] == [
        result.id for result in results
    ]
    assert link_contexts(bulk) == [identity(span) for span in created]
    assert [job_of(result).trace_context["traceparent"] for result in results] == [
        traceparent_of(span) for span in created
    ]


def test_links_of_a_large_bulk_stay_below_what_sdks_keep(spans, telemetry):
    telemetry({"create_spans": True})

    task_backends["default"].enqueue_all([(telemetry_tasks.where, (), {})] * 130)

    bulk = spans.one("enqueue default")
    assert len(bulk.links) == 128
    assert bulk.dropped_links == 0
    assert len(set(Job.objects.values_list("trace_context__traceparent", flat=True))) == 130


def test_baggage_comes_along_unless_it_is_switched_off(spans, telemetry):
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        kept = telemetry_tasks.where.enqueue()
        telemetry({"baggage": False})
        dropped = telemetry_tasks.where.enqueue()
    finally:
        context.detach(token)

    assert job_of(kept).trace_context["baggage"] == "tenant=acme"
    assert list(job_of(dropped).trace_context) == ["traceparent"]


def test_far_too_much_baggage_leaves_nothing(spans):
    much = context.get_current()
    for number in range(2):
        much = baggage.set_baggage(f"key{number}", "x" * 4_070, much)
    token = context.attach(much)
    try:
        result = telemetry_tasks.where.enqueue()
    finally:
        context.detach(token)

    assert job_of(result).trace_context is None


def test_nothing_is_kept_with_the_job_without_correlation(spans, telemetry):
    telemetry({"correlation": "none"})

    result = telemetry_tasks.where.enqueue()

    assert spans.one("enqueue")
    assert job_of(result).trace_context is None


def test_a_trace_that_is_not_sampled_is_carried_on_as_such(spans, tracer_provider):
    tracer_provider.sampler = ALWAYS_OFF
    providers.use(tracer_provider=tracer_provider)

    result = telemetry_tasks.where.enqueue()

    assert spans.all() == []
    flags = int(job_of(result).trace_context["traceparent"][-2:], 16)
    assert flags & TraceFlags.SAMPLED == 0


def test_an_enqueue_that_fails_says_so(spans):
    with connection.execute_wrapper(_refuse), pytest.raises(RuntimeError):
        telemetry_tasks.where.enqueue()

    span = spans.one("enqueue")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "the database is away"
    assert span.attributes["error.type"] == "RuntimeError"
    [event] = span.events
    assert event.name == "exception"
    assert "RuntimeError: the database is away" in event.attributes["exception.stacktrace"]


def _refuse(execute, sql, params, many, context):
    raise RuntimeError("the database is away")


def test_what_is_rolled_back_stays_in_the_trace(spans):
    with transaction.atomic():
        telemetry_tasks.where.enqueue()
        transaction.set_rollback(True)

    assert spans.one("enqueue")
    assert not Job.objects.exists()


def test_spans_may_be_named_for_tasks(spans, telemetry):
    telemetry({"span_name": "task"})

    telemetry_tasks.where.enqueue()

    assert spans.one("enqueue tests.site.telemetry_tasks.where")


def test_a_recurring_task_begins_a_trace_even_where_spans_are_suppressed(spans, tracer):
    run_at = timezone.now()
    with tracer.start_as_current_span("unrelated"), tracing.bookkeeping():
        with tracing.fires("nightly", run_at):
            list(enqueue(backend_config("default"), [(telemetry_tasks.where, (), {})]))
        list(enqueue(backend_config("default"), [(telemetry_tasks.where, (), {})]))

    span = spans.one("enqueue")
    assert span.parent is None
    assert span.attributes["dj_queue.recurring.key"] == "nightly"
    assert span.attributes["dj_queue.recurring.scheduled_at"] == run_at.isoformat()


@pytest.mark.parametrize("found", [False, {"enabled": False}])
def test_telemetry_can_be_switched_off(spans, telemetry, found):
    telemetry(found)

    result = telemetry_tasks.where.enqueue()

    assert spans.all() == []
    assert job_of(result).trace_context is None


def test_arguments_are_in_no_span(spans):
    tasks.add.enqueue(987654321, b=123456789)

    shown = spans.one("enqueue").to_json()
    assert "987654321" not in shown
    assert "123456789" not in shown


def test_without_an_sdk_nothing_is_made_and_nothing_kept():
    result = telemetry_tasks.where.enqueue()

    assert job_of(result).trace_context is None
    assert tracing.attempt(backend_config("default"), "worker-1", None) is None


def test_a_broken_sdk_does_not_break_an_enqueue(spans, tracer_provider, caplog):
    class Broken:
        def on_start(self, span, parent_context=None):
            raise OSError("the exporter is broken")

        def on_end(self, span): ...

        def _on_ending(self, span): ...

        def shutdown(self): ...

        def force_flush(self, timeout_millis=0): ...

    tracer_provider.add_span_processor(Broken())

    result = telemetry_tasks.where.enqueue()

    assert job_of(result).trace_context is None
    assert "No span could be made" in caplog.text
