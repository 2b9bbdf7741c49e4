"""What has run is read back from the statistics: sums, series and quantiles."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F

from dj_queue.models import Statistic
from dj_queue.models.statistics import BOUNDS, TOTALS, hour_of
from dj_queue.reads import throughput
from dj_queue.reads.throughput import Histogram, Throughput

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = throughput.minute_of(NOON)
EVER = None


def add(minute, *, queue="default", task="t", backend="default", **numbers):
    """Something that ended in a minute from `NOON` on, in the row of that and in the row of its hour."""
    at = MINUTE + (minute or 0)
    for row in [TOTALS] if minute is EVER else [at, hour_of(at)]:
        key = {"backend_alias": backend, "minute": row, "queue_name": queue, "task_path": task}
        kept, _ = Statistic.objects.get_or_create(**key)
        Statistic.objects.filter(pk=kept.pk).update(
            **{name: F(name) + number for name, number in numbers.items()}
        )


def histogram(**counts):
    found = [0] * (len(BOUNDS) + 1)
    for name, number in counts.items():
        found[int(name.removeprefix("b"))] = number
    return Histogram(tuple(found), 0.0)


def test_totals_come_by_queue_and_task():
    add(EVER, finished=5, failed=1, retried=2, duration_sum=3.5, duration_2=6)
    add(EVER, backend="other", finished=9)
    add(0, finished=5)

    totals = throughput.totals("default", "default")

    assert set(totals) == {("default", "t")}
    found = totals["default", "t"]
    assert (found.finished, found.failed, found.retried, found.ended) == (5, 1, 2, 6)
    assert (found.durations.counts[2], found.durations.seconds) == (6, 3.5)
    assert throughput.finished_by_queue("default", "default") == {"default": 5}


def test_a_window_is_summed_up_by_task_and_by_queue():
    add(EVER, finished=100)
    add(-1, finished=50)
    add(0, finished=1)
    add(1, finished=2, failed=1, queue="mail")
    add(1, finished=4, task="u")

    by_task = throughput.by_task("default", "default", NOON)
    by_queue = throughput.by_queue("default", "default", NOON + timedelta(seconds=59))

    assert {task: found.finished for task, found in by_task.items()} == {"t": 3, "u": 4}
    assert {name: found.ended for name, found in by_queue.items()} == {"default": 5, "mail": 3}
    of_mail = throughput.by_task("default", "default", NOON, queue_name="mail")
    assert {task: found.finished for task, found in of_mail.items()} == {"t": 2}


def test_a_window_that_begins_within_an_hour_counts_from_that_minute_on():
    for minute, number in ((-1, 1), (29, 2), (30, 4), (59, 8), (60, 16), (200, 32)):
        add(minute, finished=number)

    def since(minute):
        found = throughput.by_task("default", "default", NOON + timedelta(minutes=minute))
        return found["t"].finished

    assert since(30) == 4 + 8 + 16 + 32
    assert since(0) == 2 + 4 + 8 + 16 + 32
    assert since(60) == 16 + 32
    assert since(-1) == 1 + 2 + 4 + 8 + 16 + 32


def test_a_series_of_hours_reads_the_rows_of_hours():
    for minute, number in ((-1, 1), (0, 2), (59, 4), (60, 8), (200, 16), (24 * 60, 32)):
        add(minute, finished=number, wait_2=number)

    def series(hours):
        found = throughput.by_minute(
            "default", "default", NOON, NOON + timedelta(hours=5), step=timedelta(hours=hours)
        )
        return [
            ((at - NOON) / timedelta(hours=1), each.finished, each.waits.count)
            for at, each in found
        ]

    assert series(1) == [(0, 6, 6), (1, 8, 8), (2, 0, 0), (3, 16, 16), (4, 0, 0), (5, 0, 0)]
    assert series(3) == [(0, 14, 14), (3, 16, 16)]


def test_a_series_has_every_step_and_the_empty_ones_too():
    add(0, finished=1, wait_1=1)
    add(4, finished=2, wait_1=2, queue="mail")
    add(5, finished=4)

    def series(**options):
        until = NOON + timedelta(minutes=6)
        found = throughput.by_minute("default", "default", NOON, until, **options)
        return [(int((at - NOON).total_seconds()) // 60, each.finished) for at, each in found]

    assert series() == [(0, 1), (1, 0), (2, 0), (3, 0), (4, 2), (5, 4), (6, 0)]
    assert series(step=timedelta(minutes=5)) == [(0, 3), (5, 4)]
    assert series(step=timedelta(minutes=5), queue_name="mail") == [(0, 2), (5, 0)]
    assert series(task_path="other", step=timedelta(minutes=5)) == [(0, 0), (5, 0)]


def test_quantiles_lie_within_the_bucket_that_has_them():
    found = histogram(b3=50, b5=50)

    assert found.quantile(0.5) == pytest.approx(0.5)
    assert found.quantile(0.75) == pytest.approx(3.0)
    assert found.quantile(1.0) == pytest.approx(5.0)
    assert histogram(b12=1).quantile(0.5) == BOUNDS[-1]


def test_of_nothing_there_is_no_mean_and_no_quantile():
    assert (Throughput().durations.quantile(0.95), Throughput().durations.mean) == (None, None)
    assert Histogram((2, *[0] * len(BOUNDS)), 3.0).mean == 1.5
