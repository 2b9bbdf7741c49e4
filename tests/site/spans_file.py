"""An SDK for the processes of the tests: every span that ends is a line of JSON in one file for them all."""

import json
import os

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

VARIABLE = "DJ_QUEUE_TEST_SPANS"


class FileExporter(SpanExporter):
    """Appends whole lines, so that processes do not come into each other's way."""

    def __init__(self, path):
        self._path = path

    def export(self, spans):
        text = "".join(
            json.dumps({"pid": os.getpid(), **json.loads(span.to_json(indent=None))}) + "\n"
            for span in spans
        )
        with open(self._path, "a") as file:
            file.write(text)
        return SpanExportResult.SUCCESS


def install():
    """Trace this process if it is to be, and Django's requests with it; called by the settings."""
    path = os.environ.get(VARIABLE)
    if not path:
        return
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(FileExporter(path)))
    trace.set_tracer_provider(provider)
    if os.environ.get("DJ_QUEUE_TEST_TRACE_REQUESTS"):
        from opentelemetry.instrumentation.django import DjangoInstrumentor

        DjangoInstrumentor().instrument()


def spans_in(path, start=""):
    """The spans in the file whose name begins so."""
    if not path.exists():
        return []
    # The last line may not be whole yet.
    lines = path.read_text().split("\n")[:-1]
    return [span for span in map(json.loads, lines) if span["name"].startswith(start)]
