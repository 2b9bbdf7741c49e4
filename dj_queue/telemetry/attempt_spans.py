"""Around an attempt of a job: a CONSUMER span, which refers to the enqueue and to the attempt before.

By default (`correlation: "link"`) it begins a trace of its own: a job may run hours after the request that
enqueued it, and a thousand jobs of one request would make one trace that nobody can read. The link leads
from one to the other. Baggage comes along in any case.
"""

from collections.abc import Sequence
from datetime import timedelta

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind, Tracer

from dj_queue.config import BackendConfig
from dj_queue.store.records import ClaimedJob, Outcome
from dj_queue.telemetry import attributes, carrier
from dj_queue.telemetry import conventions as names
from dj_queue.telemetry.recording import record_error


class AttemptSpan:
    """The span of an attempt, and the current one of its thread or asyncio task until `end`."""

    __slots__ = ("_job", "_span", "_token")

    def __init__(
        self, config: BackendConfig, worker_name: str, job: ClaimedJob, tracer: Tracer
    ) -> None:
        telemetry = config.options.telemetry
        context, creation = carrier.unpacked(job.trace_context, with_baggage=telemetry.baggage)
        if telemetry.correlation != "parent":
            context = carrier.without_span(context)
        if telemetry.correlation == "none":
            creation = None
        name = attributes.span_name(config, "process", job.queue_name, job.task_path)
        found = attributes.of_operation(config, "process", "process")
        found |= attributes.of_attempt(worker_name, job)
        self._job = job
        self._span = tracer.start_span(
            name, context, SpanKind.CONSUMER, found, _links(job, creation)
        )
        # Whatever was the context of this thread, suppressed spans included, is not the task's.
        self._token = contexts.attach(trace.set_span_in_context(self._span, context))

    def end(self, outcome: Outcome) -> None:
        """The attempt ended with *outcome*, which gets to know the span if it is a failure."""
        span = self._span
        if not self._job.worker_ids:
            seconds = waited(outcome) / timedelta(seconds=1)
            span.set_attribute(names.WAIT_TIME, seconds)
        span.set_attribute(names.OUTCOME, outcome_name(outcome))
        if outcome.error is not None:
            record_error(span, *outcome.error)
            if span.get_span_context().is_valid:
                outcome.traceparent = carrier.traceparent(span.get_span_context())
        span.end()
        contexts.detach(self._token)


def waited(outcome: Outcome) -> timedelta:
    """From when a job could run to when its first attempt began; never negative."""
    job = outcome.job
    could_run_at = max(job.created_at, job.scheduled_at or job.created_at)
    return max(timedelta(0), outcome.started_at - could_run_at)


def outcome_name(outcome: Outcome) -> str:
    """How an attempt ended, in a word."""
    if outcome.error is None:
        return "succeeded"
    is_cancelled = outcome.error.exception_class.endswith("CancelledError")
    return "cancelled" if is_cancelled else "failed"


def _links(job: ClaimedJob, creation: trace.SpanContext | None) -> Sequence[Link]:
    links = []
    if creation is not None:
        links.append(Link(creation, {names.MESSAGE_ID: str(job.id)}))
    before = carrier.span_of(job.errors[-1].get("traceparent")) if job.errors else None
    if before is not None:
        links.append(Link(before, {names.LINK_TYPE: "previous_attempt"}))
    return links
