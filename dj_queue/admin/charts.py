"""Charts as SVG that the server draws: no script, in print too, with a table of the same numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import formats, timezone
from django.utils.translation import gettext as _

from dj_queue import wording
from dj_queue.admin.queries.spans import Series, Span
from dj_queue.reads.throughput import Throughput

WIDTH, HEIGHT = 360, 120
_LEFT, _BOTTOM, _TOP = 4, 20, 18


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float
    style: str
    """A class of the style sheet."""
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """A curve; where it has gaps there are several parts."""

    parts: list[str]
    """Each the `points` of a polyline."""
    style: str
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture and its numbers."""

    name: str
    title: str
    description: str
    bars: list[Bar]
    lines: list[Line]
    top_label: str
    """What the upper edge stands for."""
    legend: list[tuple[str, str]]
    """Class and label."""
    marks: list[tuple[float, str]]
    """Where on the time axis, and the time."""
    headings: list[str]
    table: list[list[str]]
    is_empty: bool

    width: int = WIDTH
    height: int = HEIGHT
    baseline: int = HEIGHT - _BOTTOM
    top: int = _TOP


def history(series: Series, span: Span) -> list[Chart]:
    """How many attempts ended, how long they took, and how long jobs waited."""
    return [
        _counts(series, span),
        _times(
            "durations",
            _("Duration"),
            series,
            span,
            lambda each, share: each.durations.quantile(share),
        ),
        _times("waits", _("Wait"), series, span, lambda each, share: each.waits.quantile(share)),
    ]


def sparkline(numbers: Sequence[int], width: int = 120, height: int = 24) -> str:
    """The `points` of a small polyline over *numbers*."""
    top = max(numbers, default=0) or 1
    step = width / max(1, len(numbers) - 1)
    return " ".join(
        f"{place * step:.1f},{height - 2 - number / top * (height - 4):.1f}"
        for place, number in enumerate(numbers)
    )


def _counts(series: Series, span: Span) -> Chart:
    top = max((each.ended for _at, each in series), default=0)
    width = (WIDTH - _LEFT) / max(1, len(series))
    room = HEIGHT - _BOTTOM - _TOP
    bars = []
    for place, (moment, each) in enumerate(series):
        x = _LEFT + place * width
        high = each.finished / top * room if top else 0
        above = each.failed / top * room if top else 0
        title = f"{_clock(moment, span)}: {each.finished} / {each.failed}"
        floor = HEIGHT - _BOTTOM
        if high:
            bars.append(Bar(x, floor - high, max(1, width - 1), high, "good", title))
        if above:
            bars.append(Bar(x, floor - high - above, max(1, width - 1), above, "bad", title))
    finished = sum(each.finished for _at, each in series)
    failed = sum(each.failed for _at, each in series)
    description = _(
        "%(finished)s attempts ended well and %(failed)s failed in the last %(span)s."
    ) % {
        "finished": finished,
        "failed": failed,
        "span": span.name,
    }
    return Chart(
        "throughput",
        _("Attempts that ended"),
        description,
        bars,
        [],
        str(wording.Count(top)),
        [("good", _("ended well")), ("bad", _("failed"))],
        _marks(series, span),
        [_("Time"), _("Ended well"), _("Failed")],
        [
            [_clock(at, span), str(each.finished), str(each.failed)]
            for at, each in series
            if each.ended
        ],
        is_empty=not top,
    )


def _times(
    name: str,
    title: str,
    series: Series,
    span: Span,
    asked: Callable[[Throughput, float], float | None],
) -> Chart:
    half = [asked(each, 0.5) for _at, each in series]
    most = [asked(each, 0.95) for _at, each in series]
    top = max((value for value in most if value is not None), default=0.0)
    rows = [
        [_clock(moment, span), wording.duration(low), wording.duration(high)]
        for (moment, _each), low, high in zip(series, half, most, strict=True)
        if high is not None
    ]
    return Chart(
        name,
        title,
        _("Half of the attempts, and 19 of 20, stayed below these times in the last %(span)s.")
        % {"span": span.name},
        [],
        [
            Line(_parts(most, top), "p95", _("19 of 20 (p95)")),
            Line(_parts(half, top), "p50", _("half (p50)")),
        ],
        wording.duration(top) if top else "",
        [("p95", _("19 of 20 (p95)")), ("p50", _("half (p50)"))],
        _marks(series, span),
        [_("Time"), "p50", "p95"],
        rows,
        is_empty=not top,
    )


def _parts(values: Sequence[float | None], top: float) -> list[str]:
    parts: list[list[str]] = [[]]
    width = (WIDTH - _LEFT) / max(1, len(values))
    for place, value in enumerate(values):
        if value is None:
            parts.append([])
            continue
        x = _LEFT + (place + 0.5) * width
        y = HEIGHT - _BOTTOM - (value / top if top else 0) * (HEIGHT - _BOTTOM - _TOP)
        # A single point is a short line, or it would not be seen.
        parts[-1] += [f"{x - 1:.1f},{y:.1f}", f"{x + 1:.1f},{y:.1f}"]
    return [" ".join(part) for part in parts if part]


def _marks(series: Series, span: Span) -> list[tuple[float, str]]:
    if not series:
        return []
    width = (WIDTH - _LEFT) / len(series)
    every = max(1, len(series) // 4)
    return [
        (round(_LEFT + place * width, 1), _clock(series[place][0], span))
        for place in range(0, len(series) - every // 2, every)
    ]


def _clock(moment: datetime, span: Span) -> str:
    local = timezone.localtime(moment)
    shown = "D H:i" if span.length.days >= 1 else "H:i"
    return formats.date_format(local, shown)
