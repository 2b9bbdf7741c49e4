"""The tracer of `dj_queue.tracing`: makes spans for OpenTelemetry where a project has an SDK.

Without one nothing here computes anything. What fails in an SDK (a sampler or a processor may raise) is
logged, and never reaches the code that is traced.
"""

import logging
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from opentelemetry import trace

from dj_queue import events, tracing
from dj_queue.config import BackendConfig
from dj_queue.store.records import ClaimedJob, NewJob, Outcome
from dj_queue.telemetry import instruments, providers
from dj_queue.telemetry.attempt_spans import AttemptSpan
from dj_queue.telemetry.enqueue_spans import EnqueueSpan
from dj_queue.telemetry.suppression import suppressed

_logger = logging.getLogger("dj_queue.telemetry")

_FLUSH_SECONDS = 1.0

_NOTHING: AbstractContextManager[object] = nullcontext()


class OpenTelemetry:
    """See `dj_queue.tracing.Tracer`."""

    def enqueuing(
        self, config: BackendConfig, jobs: Sequence[NewJob]
    ) -> AbstractContextManager[object]:
        """A PRODUCER span, and the count of what was sent."""
        if not providers.are_there() or not config.options.telemetry.enabled:
            return _NOTHING
        tracer, meters = providers.tracer(), instruments.current()
        if tracer is None and meters is None:
            return _NOTHING
        return EnqueueSpan(config, jobs, tracer, meters)

    def attempt(
        self, config: BackendConfig, worker_name: str, job: ClaimedJob
    ) -> tracing.AttemptTrace | None:
        """A CONSUMER span, and one more job that is active."""
        if not providers.are_there() or not config.options.telemetry.enabled:
            return None
        tracer, meters = providers.tracer(), instruments.current()
        if tracer is None and meters is None:
            return None
        try:
            span = None if tracer is None else AttemptSpan(config, worker_name, job, tracer)
            return _Attempt(config, span, meters, job)
        except Exception:
            _logger.exception("No span could be made for an attempt of job %s.", job.id)
            return None

    def bookkeeping(self) -> AbstractContextManager[object]:
        """No spans of instrumented drivers."""
        return suppressed()

    def current_ids(self) -> tuple[str, str] | None:
        """Of the current span, the project's own ones included."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


class _Attempt:
    __slots__ = ("_config", "_instruments", "_queue_name", "_span")

    def __init__(
        self,
        config: BackendConfig,
        span: AttemptSpan | None,
        meters: instruments.Instruments | None,
        job: ClaimedJob,
    ) -> None:
        self._config, self._queue_name = config, job.queue_name
        self._span = span
        self._instruments = meters
        if meters is not None:
            meters.active(config, job.queue_name, 1)

    def end(self, outcome: Outcome) -> None:
        try:
            if self._span is not None:
                self._span.end(outcome)
            if self._instruments is not None:
                self._instruments.active(self._config, self._queue_name, -1)
        except Exception:
            _logger.exception("The span of job %s could not be ended.", outcome.job.id)


def listen() -> None:
    """Trace from now on."""
    tracing.use(OpenTelemetry())
    events.subscribe(events.SupervisorStopped, _flush)


def _flush(event: events.SupervisorStopped) -> None:
    """Send what is still in a batch: the process may end in a way that runs nothing more."""
    del event
    flush = providers.flusher()
    if flush is None:
        return
    # In a thread, because an SDK waits for its collector as long as it likes.
    flushing = threading.Thread(target=flush, name="dj_queue-flush", daemon=True)
    flushing.start()
    flushing.join(_FLUSH_SECONDS)
