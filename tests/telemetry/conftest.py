"""An SDK that keeps what it is told in memory, and runtimes to trace."""

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from dj_queue.telemetry import providers
from tests.runtime.conftest import failures, finished, make_runtime
from tests.waiting import wait_until

__all__ = ["failures", "finished", "make_runtime"]


class Spans:
    """The spans that have ended."""

    def __init__(self, exporter):
        self._exporter = exporter

    def all(self):
        """In the order in which they ended."""
        return list(self._exporter.get_finished_spans())

    def named(self, start):
        """Those whose name begins so."""
        return [span for span in self.all() if span.name.startswith(start)]

    def one(self, start):
        """The one whose name begins so, once it has ended."""
        wait_until(lambda: self.named(start), what=f"a span {start!r} of {self.all()}")
        [span] = self.named(start)
        return span

    def many(self, start, count):
        """That many, once they have ended."""
        wait_until(lambda: len(self.named(start)) >= count, what=f"{count} spans {start!r}")
        return self.named(start)

    def clear(self):
        """Forget them."""
        self._exporter.clear()


@pytest.fixture
def tracer_provider():
    provider = TracerProvider()
    yield provider
    provider.shutdown()


@pytest.fixture
def spans(tracer_provider):
    """What is traced in this process."""
    exporter = InMemorySpanExporter()
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    providers.use(tracer_provider=tracer_provider)
    yield Spans(exporter)
    providers.use()


@pytest.fixture
def tracer(tracer_provider):
    """The project's own tracer."""
    return tracer_provider.get_tracer("project")


class Measured:
    """What the instruments have."""

    def __init__(self, reader):
        self._reader = reader

    def points(self, name):
        """The data points of an instrument, with their attributes."""
        found = self._reader.get_metrics_data()
        return [
            point
            for resource in (found.resource_metrics if found else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def total(self, name, **attributes):
        """The sum of a counter, or the count of a histogram, over points with these attributes."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        return sum(
            getattr(point, "value", getattr(point, "count", None))
            for point in self.points(name)
            if wanted.items() <= point.attributes.items()
        )


@pytest.fixture
def measured():
    """What is measured in this process."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    providers.use(meter_provider=provider)
    yield Measured(reader)
    providers.use()
    provider.shutdown()


@pytest.fixture
def telemetry(settings):
    """Sets `OPTIONS["telemetry"]`."""

    def set_options(found):
        default = settings.TASKS["default"]
        settings.TASKS = {
            "default": {**default, "OPTIONS": {**default["OPTIONS"], "telemetry": found}}
        }

    return set_options


def traceparent_of(span):
    """The W3C form of a span's context."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def link_contexts(span):
    """The spans that *span* links to."""
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


def identity(span):
    """What a link to *span* names."""
    return span.context.trace_id, span.context.span_id
