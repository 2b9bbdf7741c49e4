"""How far charts and tables look back."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from dj_queue.config import BackendConfig
from dj_queue.reads import throughput
from dj_queue.reads.throughput import Throughput


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time."""

    name: str
    length: timedelta
    step: timedelta
    """Between two points of a chart."""


# From a day on in whole hours, which are rows of their own.
SPANS = {
    "1h": Span("1h", timedelta(hours=1), timedelta(minutes=1)),
    "6h": Span("6h", timedelta(hours=6), timedelta(minutes=6)),
    "24h": Span("24h", timedelta(hours=24), timedelta(hours=1)),
    "7d": Span("7d", timedelta(days=7), timedelta(hours=3)),
}

type Series = list[tuple[datetime, Throughput]]


def chosen(name: str | None) -> Span:
    """The span called *name*, the last hour otherwise."""
    return SPANS.get(name or "", SPANS["1h"])


def series(config: BackendConfig, now: datetime, span: Span, queue: str | None = None) -> Series:
    """What ended in each step of *span* up to *now*. One statement."""
    return throughput.by_minute(
        config.options.database_alias,
        config.alias,
        now - span.length + span.step,
        now,
        queue_name=queue,
        step=span.step,
    )
