"""The database's clock, told without asking it."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from dj_queue.runtime import clock as module
from dj_queue.runtime.clock import DatabaseClock

NOON = datetime(2026, 5, 6, 12, 0, tzinfo=UTC)


def test_before_it_is_told_it_is_the_hosts_clock():
    before = datetime.now(UTC)

    now = DatabaseClock().now()

    assert before - timedelta(seconds=5) < now < datetime.now(UTC) + timedelta(seconds=5)
    assert now.tzinfo is not None


def test_it_goes_on_from_what_it_was_told(monkeypatch):
    monotonic = iter([10.0, 20.0, 20.0, 21.5])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(monotonic)))
    clock = DatabaseClock()

    clock.set(NOON)

    assert clock.now() == NOON
    assert clock.now() == NOON + timedelta(seconds=1.5)


def test_the_last_answer_counts():
    clock = DatabaseClock()

    clock.set(NOON)
    clock.set(NOON - timedelta(days=1))

    assert clock.now() < NOON
