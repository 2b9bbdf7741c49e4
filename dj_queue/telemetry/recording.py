"""What a span says of an error."""

import os
from functools import cache

from opentelemetry.trace import Span, Status, StatusCode

from dj_queue.telemetry import conventions as names


def record_error(span: Span, class_path: str, message: str, traceback: str) -> None:
    """*span* failed with an error of the class with that path."""
    kind = names.error_type(class_path)
    span.set_status(Status(StatusCode.ERROR, message))
    span.set_attribute(names.ERROR_TYPE, kind)
    if _wants_events():
        span.add_event(
            names.EXCEPTION_EVENT,
            {
                names.EXCEPTION_TYPE: kind,
                names.EXCEPTION_MESSAGE: message,
                names.EXCEPTION_STACKTRACE: traceback,
            },
        )


@cache
def _wants_events() -> bool:
    """Whether exceptions are to be events of spans, and not only log records (Django writes one)."""
    chosen = os.environ.get("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", "").split(",")
    return "logs" not in [each.strip() for each in chosen]
