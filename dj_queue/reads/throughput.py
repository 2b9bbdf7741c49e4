"""What has run and for how long, from the table of statistics; never from the jobs themselves.

See `dj_queue.models.statistics`. Answers are behind by up to the ten seconds in which processes write. Of a
long time the whole hours are read, and single minutes where it begins: a week costs little more than an hour.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from django.db.models import Q, QuerySet, Sum

from dj_queue.models import Statistic
from dj_queue.models.statistics import BOUNDS, TOTALS, hour_of

_BUCKETS = len(BOUNDS) + 1
_DURATIONS = tuple(f"duration_{number}" for number in range(_BUCKETS))
_WAITS = tuple(f"wait_{number}" for number in range(_BUCKETS))
_COUNTS = ("finished", "failed", "retried", "duration_sum", "wait_sum")
_SUMS = {name: Sum(name) for name in (*_COUNTS, *_DURATIONS, *_WAITS)}


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often something took how long."""

    counts: tuple[int, ...]
    """One for each of `BOUNDS`, each without those before, and one for what took longer."""
    seconds: float
    """All together."""

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Seconds; None without any."""
        return self.seconds / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """Seconds that *share* (0 to 1) of them did not exceed; None without any.

        Taken to be spread evenly within a bucket; what took longer than the last bound counts as that.
        """
        rank, seen, low = share * self.count, 0, 0.0
        for number, bound in zip(self.counts, BOUNDS, strict=False):
            if number and seen + number >= rank:
                return low + (bound - low) * max(0.0, rank - seen) / number
            seen, low = seen + number, bound
        return BOUNDS[-1] if self.count else None


@dataclass(frozen=True, slots=True)
class Throughput:
    """Attempts that ended."""

    finished: int = 0
    failed: int = 0
    retried: int = 0
    """How many of both were not the first of their job."""
    durations: Histogram = field(default=Histogram((0,) * _BUCKETS, 0.0))
    waits: Histogram = field(default=Histogram((0,) * _BUCKETS, 0.0))

    @property
    def ended(self) -> int:
        """All of them."""
        return self.finished + self.failed

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Self:
        """From the columns of the table, or their sums."""
        return cls(
            row["finished"] or 0,
            row["failed"] or 0,
            row["retried"] or 0,
            Histogram(
                tuple(int(row[name] or 0) for name in _DURATIONS), row["duration_sum"] or 0.0
            ),
            Histogram(tuple(int(row[name] or 0) for name in _WAITS), row["wait_sum"] or 0.0),
        )


NOTHING = Throughput()


def totals(database: str, backend_alias: str) -> dict[tuple[str, str], Throughput]:
    """Everything ever counted, by queue and task; never goes down."""
    rows = _rows(database, backend_alias).filter(minute=TOTALS)
    return {(row["queue_name"], row["task_path"]): Throughput.of_row(row) for row in rows.values()}


def finished_by_queue(database: str, backend_alias: str) -> dict[str, int]:
    """How many attempts ever ended well in each queue."""
    rows = _rows(database, backend_alias).filter(minute=TOTALS).values_list("queue_name")
    return dict(rows.annotate(Sum("finished")).order_by("queue_name"))


def by_task(
    database: str, backend_alias: str, since: datetime, *, queue_name: str | None = None
) -> dict[str, Throughput]:
    """What ended from the minute of *since* on, for each task."""
    return _grouped(database, backend_alias, since, queue_name, "task_path")


def by_queue(database: str, backend_alias: str, since: datetime) -> dict[str, Throughput]:
    """What ended from the minute of *since* on, for each queue."""
    return _grouped(database, backend_alias, since, None, "queue_name")


def by_minute(
    database: str,
    backend_alias: str,
    since: datetime,
    until: datetime,
    *,
    queue_name: str | None = None,
    task_path: str | None = None,
    step: timedelta = timedelta(minutes=1),
) -> list[tuple[datetime, Throughput]]:
    """What ended in each *step* from that of *since* to that of *until*, those without anything included.

    A step has whole minutes. If it has whole hours, those are read, and begin with the step of *since*.
    """
    minutes = max(1, int(step.total_seconds()) // 60)
    first = minute_of(since) // minutes * minutes
    rows = _rows(database, backend_alias, queue_name)
    if task_path is not None:
        rows = rows.filter(task_path=task_path)
    if minutes % 60:
        rows = rows.filter(minute__gte=max(first, 1))
    else:
        rows = rows.filter(minute__lte=hour_of(first), minute__lt=TOTALS)
    found = _stepwise(rows, minutes)
    return [
        (moment_of(minute), found.get(minute, NOTHING))
        for minute in range(first, minute_of(until) + 1, minutes)
    ]


def _stepwise(rows: QuerySet[Statistic], minutes: int) -> dict[int, Throughput]:
    """The sums of *rows*, of minutes or of hours, by the first minute of their step."""
    sums: dict[int, dict[str, Any]] = {}
    # Grouped as they stand in the index, and put together here. A step is an expression, of which PostgreSQL
    # knows no order: it sorted 14,000 wide rows on disk for six hours.
    grouped: Iterable[Any] = rows.values("minute").annotate(**_named()).order_by("minute")
    for row in grouped:
        number = row.pop("minute")
        minute = number if number > TOTALS else -number * 60
        kept = sums.setdefault(minute - minute % minutes, row)
        if kept is not row:
            for name, value in row.items():
                kept[name] += value
    return {minute: Throughput.of_row(_unnamed(row)) for minute, row in sums.items()}


def minute_of(moment: datetime) -> int:
    """As in the column `minute`; *moment* is aware."""
    return int(moment.timestamp()) // 60


def moment_of(minute: int) -> datetime:
    """When *minute* begins, aware, in UTC."""
    return datetime.fromtimestamp(minute * 60, UTC)


def _grouped(
    database: str, backend_alias: str, since: datetime, queue_name: str | None, column: str
) -> dict[str, Throughput]:
    rows = _since(database, backend_alias, since, queue_name).values(column).annotate(**_named())
    return {row[column]: Throughput.of_row(_unnamed(row)) for row in rows.order_by(column)}


def _since(
    database: str, backend_alias: str, since: datetime, queue_name: str | None
) -> QuerySet[Statistic]:
    """The minutes up to the next whole hour, and the hours from then on."""
    first = max(minute_of(since), 1)
    next_hour = -(-first // 60) * 60
    minutes = Q(minute__gte=first, minute__lt=next_hour)
    hours = Q(minute__lte=hour_of(next_hour))
    return _rows(database, backend_alias, queue_name).filter(minutes | hours)


def _rows(database: str, backend_alias: str, queue_name: str | None = None) -> QuerySet[Statistic]:
    rows = Statistic.objects.using(database).filter(backend_alias=backend_alias)
    return rows if queue_name is None else rows.filter(queue_name=queue_name)


# Django does not take the name of a column for a sum.
def _named() -> dict[str, Sum]:
    return {f"sum_{name}": each for name, each in _SUMS.items()}


def _unnamed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("sum_"): value for name, value in row.items()}
