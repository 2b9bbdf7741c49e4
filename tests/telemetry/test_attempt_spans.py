"""Every attempt of a job has a CONSUMER span that leads back to where the job was enqueued."""

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from dj_queue.api import retry_failed_job, retry_failed_jobs
from dj_queue.models import FailedExecution, Job
from dj_queue.telemetry import recording
from tests.site import telemetry_tasks
from tests.telemetry.conftest import identity, link_contexts, traceparent_of
from tests.waiting import wait_until


@pytest.fixture
def with_tenant():
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    yield
    context.detach(token)


def returned(result, finished):
    [result] = finished(result)
    return result.return_value


def test_an_attempt_begins_a_trace_that_links_to_its_enqueue(
    spans, tracer, make_runtime, finished, with_tenant
):
    make_runtime()
    with tracer.start_as_current_span("request"):
        result = telemetry_tasks.where.using(priority=3).enqueue()

    seen = returned(result, finished)

    producer, consumer = spans.one("enqueue default"), spans.one("process default")
    assert consumer.kind is SpanKind.CONSUMER
    assert consumer.parent is None
    assert consumer.context.trace_id != producer.context.trace_id
    assert link_contexts(consumer) == [identity(producer)]
    assert consumer.links[0].attributes == {"messaging.message.id": result.id}
    assert consumer.status.status_code is StatusCode.UNSET
    assert consumer.events == ()
    assert seen == [
        f"{consumer.context.trace_id:032x}", f"{consumer.context.span_id:016x}", "acme"
    ]  # fmt: skip


def test_an_attempt_says_what_it_was(spans, make_runtime, finished):
    make_runtime()
    result = telemetry_tasks.where.using(priority=3).enqueue()
    finished(result)

    found = {**spans.one("process").attributes}

    assert found.pop("dj_queue.job.wait_time") >= 0
    assert found.pop("messaging.client.id").startswith("worker-1@")
    assert {key: value for key, value in found.items() if not key.startswith("server.")} == {
        "messaging.system": "dj_queue",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "default",
        "messaging.message.id": result.id,
        "dj_queue.backend": "default",
        "dj_queue.task.name": "tests.site.telemetry_tasks.where",
        "code.function.name": "tests.site.telemetry_tasks.where",
        "dj_queue.job.priority": 3,
        "dj_queue.job.attempt": 1,
        "dj_queue.job.outcome": "succeeded",
    }


def test_a_job_that_is_claimed_from_the_table_is_traced_as_well(
    spans, make_runtime, finished, with_tenant
):
    result = telemetry_tasks.where.enqueue()
    make_runtime()

    seen = returned(result, finished)

    assert seen[2] == "acme"
    assert link_contexts(spans.one("process")) == [identity(spans.one("enqueue"))]


def test_jobs_with_a_concurrency_key_are_traced_whether_they_wait_or_not(
    spans, make_runtime, finished
):
    results = [telemetry_tasks.where_limited.enqueue() for _ in range(2)]
    make_runtime()
    finished(*results)

    producers = {each.attributes["messaging.message.id"]: each for each in spans.named("enqueue")}
    for span in spans.many("process", 2):
        producer = producers[span.attributes["messaging.message.id"]]
        assert link_contexts(span) == [identity(producer)]


def test_with_parent_the_attempt_is_in_the_trace_of_the_request(
    spans, tracer, make_runtime, finished, telemetry
):
    telemetry({"correlation": "parent"})
    make_runtime(telemetry={"correlation": "parent"})
    with tracer.start_as_current_span("request") as request:
        result = telemetry_tasks.where.enqueue()

    seen = returned(result, finished)

    producer, consumer = spans.one("enqueue"), spans.one("process")
    assert consumer.parent.span_id == producer.context.span_id
    assert seen[0] == f"{request.get_span_context().trace_id:032x}"
    assert link_contexts(consumer) == [identity(producer)]


def test_without_correlation_the_attempt_stands_alone(spans, make_runtime, finished):
    result = telemetry_tasks.where.enqueue()
    make_runtime(telemetry={"correlation": "none"})
    finished(result)

    consumer = spans.one("process")
    assert consumer.parent is None
    assert consumer.links == ()


def test_async_jobs_and_the_threads_they_use_are_in_their_span(
    spans, make_runtime, finished, with_tenant
):
    make_runtime()
    result = telemetry_tasks.where_async.enqueue()

    seen = returned(result, finished)

    consumer = spans.one("process")
    here = [f"{consumer.context.trace_id:032x}", f"{consumer.context.span_id:016x}", "acme"]
    assert seen == [here, here]


def test_async_jobs_that_run_at_once_have_spans_apart(spans, make_runtime, finished):
    make_runtime()
    results = [telemetry_tasks.where_async.enqueue() for _ in range(20)]

    seen = [result.return_value[0][1] for result in finished(*results)]

    consumers = {
        span.attributes["messaging.message.id"]: span for span in spans.many("process", 20)
    }
    assert seen == [f"{consumers[each.id].context.span_id:016x}" for each in results]


@pytest.mark.parametrize(
    ("task", "kind"),
    [(telemetry_tasks.fail, "LookupError"), (telemetry_tasks.fail_async, "ValueError")],
    ids=["plain", "async"],
)
def test_a_failure_is_in_the_span_with_its_exception(spans, make_runtime, finished, task, kind):
    make_runtime()
    result = task.enqueue()
    finished(result)

    span = spans.one("process")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description in ("no", "not today")
    assert span.attributes["error.type"] == kind
    assert span.attributes["dj_queue.job.outcome"] == "failed"
    [event] = span.events
    assert event.name == "exception"
    assert event.attributes["exception.type"] == kind
    assert f"{kind}: " in event.attributes["exception.stacktrace"]


def test_an_attempt_links_to_the_one_before(spans, make_runtime, finished):
    make_runtime()
    result = telemetry_tasks.fail.enqueue()
    finished(result)
    first = spans.one("process")
    assert Job.objects.get(pk=result.id).errors[0]["traceparent"] == traceparent_of(first)

    retry_failed_job(result.id)
    second = next(span for span in spans.many("process", 2) if span is not first)

    assert second.attributes["dj_queue.job.attempt"] == 2
    assert "dj_queue.job.wait_time" not in second.attributes
    assert link_contexts(second) == [identity(spans.one("enqueue")), identity(first)]
    assert second.links[1].attributes == {"dj_queue.link.type": "previous_attempt"}


def test_a_recurring_task_begins_a_trace_each_time_it_fires(spans, make_runtime):
    entry = {"task_path": "tests.site.telemetry_tasks.where", "schedule": "* * * * * *"}
    make_runtime(recurring={"tick": entry})

    producers = spans.many("enqueue", 2)[:2]
    attempt = spans.many("process", 1)[0]

    assert [span.parent for span in producers] == [None, None]
    assert producers[0].context.trace_id != producers[1].context.trace_id
    assert [span.attributes["dj_queue.recurring.key"] for span in producers] == ["tick", "tick"]
    assert all("dj_queue.recurring.scheduled_at" in span.attributes for span in producers)
    assert link_contexts(attempt) == [identity(producers[0])]


def test_an_operators_retry_is_in_the_trace_of_the_request(spans, tracer, make_runtime, finished):
    runtime = make_runtime()
    result = telemetry_tasks.fail.enqueue()
    finished(result)
    runtime.stop(5)

    with tracer.start_as_current_span("admin") as request:
        retry_failed_job(result.id)

    span = spans.one("retry default")
    assert span.kind is SpanKind.CLIENT
    assert span.parent.span_id == request.get_span_context().span_id
    assert span.attributes["messaging.message.id"] == result.id
    assert "messaging.operation.type" not in span.attributes
    assert link_contexts(span) == [identity(spans.one("enqueue"))]


def test_a_retry_of_several_jobs_is_one_span(spans, make_runtime, finished):
    runtime = make_runtime()
    results = [telemetry_tasks.fail.enqueue() for _ in range(2)]
    finished(*results)
    runtime.stop(5)

    retry_failed_jobs(job_ids=[result.id for result in results])

    span = spans.one("retry default")
    assert span.attributes["messaging.batch.message_count"] == 2
    assert "messaging.message.id" not in span.attributes
    assert sorted(link_contexts(span)) == sorted(map(identity, spans.named("enqueue")))


def test_a_task_that_cannot_be_imported_has_a_span_that_says_so(spans, make_runtime):
    result = telemetry_tasks.where.enqueue()
    Job.objects.filter(pk=result.id).update(task_path="tests.site.telemetry_tasks.gone")
    make_runtime()

    span = spans.one("process")
    assert span.status.status_code is StatusCode.ERROR
    wait_until(FailedExecution.objects.exists)


def test_a_job_enqueued_by_a_job_is_its_child(spans, make_runtime, finished):
    make_runtime(workers={"threads": 1})
    result = telemetry_tasks.enqueue_another.enqueue()
    finished(result)

    first = spans.many("process", 2)[0]
    inner = next(span for span in spans.named("enqueue") if span.parent is not None)
    assert inner.parent.span_id == first.context.span_id


def test_the_thread_has_no_span_left_after_a_job(spans, make_runtime, finished):
    make_runtime(workers={"threads": 1})
    results = [telemetry_tasks.where.enqueue() for _ in range(3)]
    seen = [result.return_value[0] for result in finished(*results)]

    assert len(set(seen)) == 3
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_what_is_carried_may_be_rubbish(spans, make_runtime, finished):
    results = [telemetry_tasks.where.enqueue() for _ in range(4)]
    rubbish = [["list"], {"traceparent": "x"}, {"traceparent": 5}, "text"]
    for result, carrier in zip(results, rubbish, strict=True):
        Job.objects.filter(pk=result.id).update(trace_context=carrier)
    make_runtime()

    assert [result.status.value for result in finished(*results)] == ["SUCCESSFUL"] * 4


def test_a_worker_may_leave_its_attempts_untraced(make_runtime, finished, spans):
    result = telemetry_tasks.fail.enqueue()
    make_runtime(telemetry=False)
    finished(result)

    assert "traceparent" not in Job.objects.get(pk=result.id).errors[0]
    assert spans.named("process") == []


def test_what_waits_in_a_batch_is_sent_when_a_runtime_stops(
    spans, tracer_provider, make_runtime, finished
):
    exporter = InMemorySpanExporter()
    late = BatchSpanProcessor(exporter, schedule_delay_millis=600_000)
    tracer_provider.add_span_processor(late)
    runtime = make_runtime()
    finished(telemetry_tasks.where.enqueue())
    spans.one("process")

    runtime.stop(5)

    wait_until(lambda: len(exporter.get_finished_spans()) == 2)


@pytest.mark.parametrize(("chosen", "events"), [("", 1), ("logs", 0), ("logs/dup", 1)])
def test_who_wants_exceptions_as_log_records_gets_no_events(
    spans, make_runtime, finished, monkeypatch, chosen, events
):
    monkeypatch.setenv("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", chosen)
    recording._wants_events.cache_clear()
    make_runtime()

    finished(telemetry_tasks.fail.enqueue())

    span = spans.one("process")
    recording._wants_events.cache_clear()
    assert len(span.events) == events
    assert span.attributes["error.type"] == "LookupError"
