"""The runtime's own statements are in no trace, though drivers are instrumented; those of tasks are."""

import threading
from collections import defaultdict

import pytest
from django.db import connection
from opentelemetry.sdk.trace import SpanProcessor

from dj_queue import tracing
from tests.site import telemetry_tasks
from tests.waiting import wait_until


class Threads(SpanProcessor):
    """Which spans began in which thread."""

    def __init__(self):
        self.spans = defaultdict(list)

    def on_start(self, span, parent_context=None):
        self.spans[threading.current_thread().name].append(span)

    def of_the_runtime(self):
        """What began in threads of the runtime, but for those that run jobs."""
        return [
            span
            for name, spans in self.spans.items()
            if name.startswith("dj_queue-") and "-thread-" not in name
            for span in spans
        ]

    def of_jobs(self):
        """What began in threads that run jobs."""
        return [span for name, spans in self.spans.items() if "-thread-" in name for span in spans]


@pytest.fixture
def threads(spans, tracer_provider):
    processor = Threads()
    tracer_provider.add_span_processor(processor)
    return processor


@pytest.fixture
def instrumented(tracer_provider):
    """psycopg makes spans."""
    psycopg = pytest.importorskip("opentelemetry.instrumentation.psycopg")
    instrumentor = psycopg.PsycopgInstrumentor()
    connection.close()
    instrumentor.instrument(tracer_provider=tracer_provider, skip_dep_check=True)
    yield
    instrumentor.uninstrument()
    connection.close()


def tick_often(runtime, times=20):
    """Let the worker look for work that often."""
    worker, ticks = runtime.workers[0], 0
    tick = worker.tick

    def counted(session):
        nonlocal ticks
        ticks += 1
        return tick(session)

    worker.tick = counted

    def enough():
        worker.call()
        return ticks >= times

    wait_until(enough)


@pytest.mark.only_on("postgresql")
def test_polling_heartbeats_and_leadership_make_no_span(
    instrumented, threads, make_runtime, finished
):
    runtime = make_runtime(
        process_heartbeat_interval=0.2, process_alive_threshold=30, listen_notify=False
    )
    tick_often(runtime)
    result = telemetry_tasks.ask_database.enqueue()
    finished(result)

    assert threads.of_the_runtime() == []
    assert any(span.attributes.get("db.statement") == "SELECT 42" for span in threads.of_jobs())


@pytest.mark.only_on("postgresql")
def test_without_suppression_they_would(instrumented, threads, make_runtime, monkeypatch):
    """What makes the test above able to fail."""
    monkeypatch.setattr(tracing, "_tracer", None)
    runtime = make_runtime(listen_notify=False)
    tick_often(runtime)

    assert threads.of_the_runtime()


@pytest.mark.only_on("postgresql")
def test_statements_of_a_task_are_children_of_its_attempt(
    instrumented, spans, make_runtime, finished
):
    make_runtime()
    finished(telemetry_tasks.ask_database.enqueue())

    consumer = spans.one("process")
    [asked] = [each for each in spans.all() if each.attributes.get("db.statement") == "SELECT 42"]
    assert asked.parent.span_id == consumer.context.span_id
