"""Spans that are made after the fact, of events: what operators do, and with `trace_internals` our own work.

Each of our own is a trace by itself, and there is none for a look that found nothing.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind

from dj_queue import events
from dj_queue.config import BackendConfig, backend_config
from dj_queue.telemetry import attributes, carrier, providers
from dj_queue.telemetry import conventions as names
from dj_queue.telemetry.suppression import is_suppressed

_NANOSECONDS = 1_000_000_000


def listen() -> None:
    """Make spans of events from now on."""
    events.subscribe(events.JobsClaimed, _claimed)
    events.subscribe(events.JobsPromoted, _promoted)
    events.subscribe(events.ProcessRecovered, _recovered)
    events.subscribe(events.OldJobsCleared, _cleared)
    events.subscribe(events.JobsRetried, _retried)


def _claimed(event: events.JobsClaimed) -> None:
    tracer = providers.tracer()
    if tracer is None or event.seconds is None or (config := _traced(event.backend)) is None:
        return
    queue = attributes.only(job.queue_name for job in event.jobs)
    task = attributes.only(job.task_path for job in event.jobs)
    found = attributes.of_operation(config, "claim", "receive")
    found |= {names.MESSAGE_COUNT: len(event.jobs), names.CLIENT_ID: event.worker}
    if queue is not None:
        found[names.DESTINATION] = queue
    ended = time.time_ns()
    span = tracer.start_span(
        attributes.span_name(config, "claim", queue, task),
        Context(),
        SpanKind.CLIENT,
        found,
        _links([job.trace_context for job in event.jobs]),
        start_time=ended - int(event.seconds * _NANOSECONDS),
    )
    span.end(ended)


def _promoted(event: events.JobsPromoted) -> None:
    _tell("dj_queue.dispatch", event.backend, event.count)


def _recovered(event: events.ProcessRecovered) -> None:
    _tell("dj_queue.recover", event.backend, event.released + event.requeued + event.failed)


def _cleared(event: events.OldJobsCleared) -> None:
    _tell("dj_queue.prune", event.backend, event.finished + event.failed + event.recurring)


def _tell(name: str, backend: str, rows: int) -> None:
    tracer = providers.tracer()
    if tracer is None or rows < 1 or _traced(backend) is None:
        return
    found: attributes.Attributes = {names.BACKEND: backend, names.ROWS: rows}
    tracer.start_span(name, Context(), SpanKind.INTERNAL, found).end()


def _retried(event: events.JobsRetried) -> None:
    """What an operator has tried again, in the trace of the request; not what the dispatcher does."""
    tracer = providers.tracer()
    if tracer is None or is_suppressed():
        return
    config = backend_config(event.backend)
    if not config.options.telemetry.enabled:
        return
    found = attributes.of_operation(config, "retry", None)
    if event.count == 1 and event.job_ids:
        found[names.MESSAGE_ID] = str(event.job_ids[0])
    else:
        found[names.MESSAGE_COUNT] = event.count
    queue = attributes.only(event.queues)
    if queue is not None:
        found[names.DESTINATION] = queue
    name = attributes.span_name(config, "retry", queue, None)
    tracer.start_span(name, None, SpanKind.CLIENT, found, _links(event.trace_contexts)).end()


def _traced(backend: str) -> BackendConfig | None:
    """The configuration of *backend* if it wants our own work traced."""
    config = backend_config(backend)
    telemetry = config.options.telemetry
    return config if telemetry.enabled and telemetry.trace_internals else None


def _links(carriers: Sequence[Mapping[str, str] | None]) -> list[Link]:
    """To where jobs were enqueued, once for each enqueue and as many as are kept."""
    found: dict[tuple[int, int], Any] = {}
    for each in carriers:
        if len(found) == names.MAX_LINKS:
            break
        _, creation = carrier.unpacked(each, with_baggage=False)
        if creation is not None:
            found[creation.trace_id, creation.span_id] = creation
    return [Link(creation) for creation in found.values()]
