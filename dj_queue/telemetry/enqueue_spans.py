"""Around the writing of jobs: a PRODUCER span whose context travels in the jobs' rows, and the count of them.

One job is one span. A bulk enqueue is one span too, whose context all its jobs share; with `create_spans` it
is a CLIENT span that links to a PRODUCER span of each job instead.
"""

import logging
import time
from collections.abc import Sequence
from contextvars import Token
from traceback import format_exception
from types import TracebackType

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Tracer

from dj_queue import tracing
from dj_queue.config import BackendConfig
from dj_queue.exceptions import exception_path
from dj_queue.store.records import NewJob
from dj_queue.telemetry import attributes, carrier
from dj_queue.telemetry import conventions as names
from dj_queue.telemetry.instruments import Instruments
from dj_queue.telemetry.recording import record_error
from dj_queue.telemetry.suppression import is_suppressed

_logger = logging.getLogger("dj_queue.telemetry")


class EnqueueSpan:
    """A context manager around the statements that write *jobs*."""

    __slots__ = (
        "_began",
        "_config",
        "_instruments",
        "_jobs",
        "_operation",
        "_span",
        "_token",
        "_tracer",
    )

    def __init__(
        self,
        config: BackendConfig,
        jobs: Sequence[NewJob],
        tracer: Tracer | None,
        instruments: Instruments | None,
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._tracer = tracer
        self._instruments = instruments
        self._operation = "schedule" if all(job.run_after for job in jobs) else "enqueue"
        self._span: Span | None = None
        self._token: Token[Context] | None = None
        self._began = 0.0

    def __enter__(self) -> None:
        firing = tracing.firing.get()
        # Who switches spans off for what they do does not want this one; the scheduler's threads do so
        # for their own statements, and firing a task is none of those.
        if self._tracer is not None and (firing is not None or not is_suppressed()):
            try:
                self._start(self._tracer, firing)
            except Exception:
                _logger.exception("No span could be made for an enqueue.")
        self._began = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = time.perf_counter() - self._began
        try:
            self._end(error, seconds)
        except Exception:
            _logger.exception("The span of an enqueue could not be ended.")

    def _start(self, tracer: Tracer, firing: tracing.Firing | None) -> None:
        # What fires by itself is nobody's child.
        around = contexts.get_current() if firing is None else Context()
        telemetry = self._config.options.telemetry
        is_created_before = telemetry.create_spans and len(self._jobs) > 1
        created = self._create_each(tracer, around) if is_created_before else []
        self._span = tracer.start_span(
            self._name(self._operation, self._jobs),
            around,
            SpanKind.CLIENT if is_created_before else SpanKind.PRODUCER,
            self._attributes(firing),
            [Link(each) for each in created[: names.MAX_LINKS]],
        )
        context = trace.set_span_in_context(self._span, around)
        self._token = contexts.attach(context)
        if not is_created_before:
            self._send_along(context, self._jobs)

    def _create_each(self, tracer: Tracer, around: Context) -> list[trace.SpanContext]:
        """A span for each job, which is its job's; their contexts."""
        made = []
        for job in self._jobs:
            found = attributes.of_operation(self._config, "create", "create")
            found |= attributes.of_new_job(job)
            name = self._name("create", [job])
            span = tracer.start_span(name, around, SpanKind.PRODUCER, found)
            span.end()
            self._send_along(trace.set_span_in_context(span, around), [job])
            made.append(span.get_span_context())
        return made

    def _send_along(self, context: Context, jobs: Sequence[NewJob]) -> None:
        telemetry = self._config.options.telemetry
        if telemetry.correlation == "none":
            return
        text = carrier.packed(context, with_baggage=telemetry.baggage)
        for job in jobs:
            job.trace_context = text

    def _name(self, operation: str, jobs: Sequence[NewJob]) -> str:
        queue = attributes.only(job.queue_name for job in jobs)
        task = attributes.only(job.task_path for job in jobs)
        return attributes.span_name(self._config, operation, queue, task)

    def _attributes(self, firing: tracing.Firing | None) -> attributes.Attributes:
        found = attributes.of_operation(self._config, self._operation, "send")
        if len(self._jobs) == 1:
            found |= attributes.of_new_job(self._jobs[0])
        else:
            found |= attributes.of_common(self._jobs)
            found[names.MESSAGE_COUNT] = len(self._jobs)
        if firing is not None:
            found |= attributes.of_firing(firing)
        return found

    def _end(self, error: BaseException | None, seconds: float) -> None:
        if self._token is not None:
            contexts.detach(self._token)
        if self._span is not None:
            if error is not None:
                described = "".join(format_exception(error))
                record_error(self._span, exception_path(error), str(error), described)
            self._span.end()
        if self._instruments is not None:
            self._instruments.sent(self._config, self._operation, self._jobs, seconds, error)
