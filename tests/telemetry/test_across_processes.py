"""One story in several processes: who enqueues, who runs the job, and the child that computes."""

import os

import pytest

from dj_queue.models import Job
from dj_queue.telemetry import providers
from tests.contrib.servers import environment, uvicorn
from tests.contrib.standalone import command
from tests.site import spans_file, telemetry_tasks
from tests.site.spans_file import spans_in
from tests.waiting import wait_until

WHERE = "tests.site.telemetry_tasks.where"


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where the spans of processes are written that are started from now on."""
    found = tmp_path / "spans"
    monkeypatch.setenv(spans_file.VARIABLE, str(found))
    return found


def in_file(path, start, count=1):
    """The spans of that name, once there are so many."""
    wait_until(
        lambda: len(spans_in(path, start)) >= count,
        seconds=30,
        what=f"{count} spans {start!r} of {spans_in(path)}",
    )
    return spans_in(path, start)


def links(span):
    """The traces and spans that a span from the file links to."""
    return [(link["context"]["trace_id"], link["context"]["span_id"]) for link in span["links"]]


def named(span):
    """What a link to a span of this process says in the file."""
    return f"0x{span.context.trace_id:032x}", f"0x{span.context.span_id:016x}"


def test_a_worker_process_links_its_attempts_to_the_process_that_enqueued(
    path, spans, tracer, tmp_path
):
    with command(tmp_path / "log") as worker:
        with tracer.start_as_current_span("request"):
            good, bad = telemetry_tasks.where.enqueue(), telemetry_tasks.fail.enqueue()
        attempts = {
            span["attributes"]["messaging.message.id"]: span for span in in_file(path, "process", 2)
        }
        assert worker.stop() == 0

    producers = {span.attributes["messaging.message.id"]: span for span in spans.named("enqueue")}
    for result in (good, bad):
        assert attempts[result.id]["pid"] == worker.process.pid
        assert links(attempts[result.id]) == [named(producers[result.id])]
    assert attempts[bad.id]["status"]["status_code"] == "ERROR"
    assert attempts[bad.id]["events"][0]["attributes"]["exception.type"] == "LookupError"
    # Nothing but these: a worker that starts, polls, leads and stops has no spans.
    assert {span["name"] for span in spans_in(path)} == {"process default"}


def test_a_child_that_computes_makes_the_span_of_its_job(
    path, spans, measured, tracer_provider, make_runtime, monkeypatch
):
    providers._Found.tracers = tracer_provider  # `measured` has taken its place.
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    make_runtime(workers=[{"executor": "process", "threads": 1}])
    good, bad = telemetry_tasks.where.enqueue(), telemetry_tasks.fail.enqueue()

    attempts = {
        span["attributes"]["messaging.message.id"]: span for span in in_file(path, "process", 2)
    }
    wait_until(lambda: Job.objects.failed().exists() and Job.objects.finished().exists())

    producers = {span.attributes["messaging.message.id"]: span for span in spans.named("enqueue")}
    assert spans.named("process") == []
    assert attempts[good.id]["pid"] != os.getpid()
    assert links(attempts[good.id]) == [named(producers[good.id])]
    [error] = Job.objects.get(pk=bad.id).errors
    assert error["traceparent"].split("-")[2] == attempts[bad.id]["context"]["span_id"][2:]
    # Measured by the worker's process, which exports for its children.
    wait_until(lambda: measured.total("messaging.process.duration") == 2)


def test_request_enqueue_and_execution_inside_a_web_server_are_one_story(
    path, tmp_path, monkeypatch
):
    pytest.importorskip("opentelemetry.instrumentation.django")
    monkeypatch.setenv("DJ_QUEUE_TEST_TRACE_REQUESTS", "1")
    with uvicorn(tmp_path / "log") as server:
        [job_id] = server.enqueue(WHERE)
        [attempt] = in_file(path, "process")
        asynchronous = server.get("enqueue-async", call={"task": WHERE})["ids"]
        attempts = in_file(path, "process", 2)
        # A span ends before its outcome is written.
        wait_until(lambda: Job.objects.finished().count() == 2)

    requests = {span["context"]["span_id"]: span for span in spans_in(path, "GET")}
    for enqueued, run in zip((job_id, *asynchronous), attempts, strict=True):
        [producer] = [
            span
            for span in spans_in(path, "enqueue")
            if span["attributes"]["messaging.message.id"] == enqueued
        ]
        request = requests[producer["parent_id"]]
        assert request["kind"] == "SpanKind.SERVER"
        assert request["context"]["trace_id"] == producer["context"]["trace_id"]
        assert links(run) == [(producer["context"]["trace_id"], producer["context"]["span_id"])]
        assert run["parent_id"] is None
        assert run["pid"] == attempt["pid"] == server.process.pid
        assert Job.objects.get(pk=enqueued).return_value[0] == run["context"]["trace_id"][2:]
