"""No spans for statements that interest nobody: each poll would be a trace of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context as contexts

# The plain key, which instrumentations of drivers have always looked at; the API has no name for it.
_KEY = "suppress_instrumentation"


@contextmanager
def suppressed() -> Iterator[None]:
    """Instrumentations of drivers make no spans inside."""
    token = contexts.attach(contexts.set_value(_KEY, True))
    try:
        yield
    finally:
        contexts.detach(token)


def is_suppressed() -> bool:
    """Whether somebody asked for no spans here."""
    return bool(contexts.get_value(_KEY))
