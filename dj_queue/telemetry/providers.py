"""Where spans and metrics go: to the SDK that the project has set up, if it has.

The API alone does nothing, but not for nothing: building attributes for it, or only asking it whether there
is an SDK, would be felt in an enqueue. So it is asked ten times a second at the most, and never again after
the answer was yes: a provider is set once.
"""

import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version

from opentelemetry import metrics, trace

from dj_queue.telemetry import conventions as names

_LOOK_SECONDS = 0.1


class _Found:
    """The providers that do something, as far as they have been looked for."""

    tracers: trace.TracerProvider | None = None
    meters: metrics.MeterProvider | None = None
    looks_next_at = 0.0


def are_there() -> bool:
    """Whether anybody would see a span or read an instrument."""
    if _Found.tracers is not None and _Found.meters is not None:
        return True
    now = time.monotonic()
    if now >= _Found.looks_next_at:
        _Found.looks_next_at = now + _LOOK_SECONDS
        _look()
    return _Found.tracers is not None or _Found.meters is not None


def tracer() -> trace.Tracer | None:
    """The tracer to make spans with; None when nobody would see them."""
    if not are_there() or _Found.tracers is None:
        return None
    return _tracer_of(_Found.tracers)


def meter() -> metrics.Meter | None:
    """The meter to make instruments with; None when nobody would read them."""
    if not are_there() or _Found.meters is None:
        return None
    return _meter_of(_Found.meters)


def use(
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> None:
    """Send to these providers, and not to the global ones; None means the global one again."""
    _Found.tracers, _Found.meters, _Found.looks_next_at = tracer_provider, meter_provider, 0.0


def flusher() -> Callable[[], object] | None:
    """What sends the spans that wait in a batch; None where there is no such thing."""
    return getattr(_Found.tracers, "force_flush", None)


def _look() -> None:
    if _Found.tracers is None and not _only_api(found := trace.get_tracer_provider()):
        _Found.tracers = found
    if _Found.meters is None and not _only_api(measures := metrics.get_meter_provider()):
        _Found.meters = measures


def _only_api(provider: object) -> bool:
    """Whether *provider* is one of those in the API itself, which do nothing or wait for another one."""
    return type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


@cache
def _tracer_of(provider: trace.TracerProvider) -> trace.Tracer:
    return provider.get_tracer(names.SCOPE, version("dj-queue"), schema_url=names.SCHEMA_URL)


@cache
def _meter_of(provider: metrics.MeterProvider) -> metrics.Meter:
    return provider.get_meter(names.SCOPE, version("dj-queue"), schema_url=names.SCHEMA_URL)
