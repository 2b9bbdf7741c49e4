"""A trace's context on its way through the job's row: a small JSON mapping of text to text.

What is in it is up to the project's propagators (`OTEL_PROPAGATORS`); by default `traceparent`, perhaps
`tracestate`, and `baggage`.
"""

import json
from collections.abc import Mapping

from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# The most that W3C allows for baggage. Above it nothing is kept: a carrier with holes would mislead.
_MAX_CHARACTERS = 8192

_w3c = TraceContextTextMapPropagator()


def packed(context: Context, *, with_baggage: bool) -> str | None:
    """*context* as JSON text; None when there is nothing in it, or far too much."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context if with_baggage else baggage.clear(context))
    text = json.dumps(carrier, separators=(",", ":"))
    return text if carrier and len(text) <= _MAX_CHARACTERS else None


def unpacked(
    carrier: Mapping[str, str] | None, *, with_baggage: bool
) -> tuple[Context, trace.SpanContext | None]:
    """The context in *carrier*, made of nothing else, and the span in it if there is one."""
    if not carrier:
        return Context(), None
    context = propagate.extract(carrier, context=Context())
    span_context = trace.get_current_span(context).get_span_context()
    if not with_baggage:
        context = baggage.clear(context)
    return context, span_context if span_context.is_valid else None


def without_span(context: Context) -> Context:
    """*context* with no span in it: what begins there begins a trace."""
    return trace.set_span_in_context(trace.INVALID_SPAN, context)


def traceparent(span_context: trace.SpanContext) -> str:
    """*span_context* as text, in W3C's form."""
    trace_id, span_id = (
        trace.format_trace_id(span_context.trace_id),
        trace.format_span_id(span_context.span_id),
    )
    return f"00-{trace_id}-{span_id}-{span_context.trace_flags:02x}"


def span_of(text: str | None) -> trace.SpanContext | None:
    """The span that `traceparent` made *text* of; None for anything else."""
    if not text:
        return None
    context = _w3c.extract({"traceparent": text}, context=Context())
    span_context = trace.get_current_span(context).get_span_context()
    return span_context if span_context.is_valid else None
