"""Whoever follows docs/tracing.md has the spans of a request and of its job where they are collected."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.contrib.servers import uvicorn
from tests.site import otlp
from tests.waiting import wait_until

WHERE = "tests.site.telemetry_tasks.where"


class Collector:
    """What Jaeger is to a project: something that takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.received: list[tuple[str, Span]] = []
        """The name of the service, and a span of it."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.received += [(about["service.name"], span) for span in scope.spans]

    def one(self, start: str) -> Span:
        """The span whose name begins so, once it has come."""

        def found() -> list[Span]:
            return [span for _, span in self.received if span.name.startswith(start)]

        wait_until(found, seconds=40, what=f"a span {start!r}")
        return found()[0]


@pytest.fixture
def collector():
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join(10)


def test_the_documented_set_up_sends_request_enqueue_and_job(collector, tmp_path, monkeypatch):
    pytest.importorskip("opentelemetry.instrumentation.django")
    monkeypatch.setenv(otlp.VARIABLE, collector.address)
    with uvicorn(tmp_path / "log") as server:
        server.enqueue(WHERE)
        enqueue, process = collector.one("enqueue default"), collector.one("process default")
        request = collector.one("GET")

    assert {service for service, _ in collector.received} == {"shop"}
    assert request.kind == Span.SPAN_KIND_SERVER
    assert enqueue.kind == Span.SPAN_KIND_PRODUCER
    assert process.kind == Span.SPAN_KIND_CONSUMER
    assert (enqueue.trace_id, enqueue.parent_span_id) == (request.trace_id, request.span_id)
    assert process.trace_id != enqueue.trace_id
    [link] = process.links
    assert (link.trace_id, link.span_id) == (enqueue.trace_id, enqueue.span_id)
    values = {each.key: each.value.string_value for each in process.attributes}
    assert values["dj_queue.task.name"] == WHERE
    assert values["dj_queue.job.outcome"] == "succeeded"
