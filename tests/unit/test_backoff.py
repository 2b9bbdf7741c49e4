"""Delays that double, up to a ceiling."""

import random

import pytest

from dj_queue import backoff
from dj_queue.backoff import Backoff


@pytest.fixture
def unspread(monkeypatch):
    """Delays at the upper end of their spread."""
    monkeypatch.setattr(backoff.random, "uniform", lambda low, high: high)


def test_delays_double_up_to_the_ceiling(unspread):
    delays = Backoff(first=0.1, ceiling=1.0)

    assert [delays.next_delay() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_the_first_delay_does_not_exceed_the_ceiling_either(unspread):
    assert Backoff(first=3.0, ceiling=1.0).next_delay() == 1.0


def test_failures_are_counted():
    delays = Backoff()

    assert delays.failures == 0
    delays.next_delay()
    delays.next_delay()
    assert delays.failures == 2


def test_a_success_starts_over(unspread):
    delays = Backoff(first=0.1, ceiling=1.0)
    delays.next_delay()
    delays.next_delay()

    delays.reset()

    assert delays.failures == 0
    assert delays.next_delay() == 0.1


def test_each_delay_is_spread_over_its_upper_half():
    random.seed(7)

    spread = [Backoff(first=1.0, ceiling=1.0).next_delay() for _ in range(500)]

    assert min(spread) >= 0.5
    assert max(spread) <= 1.0
    assert min(spread) < 0.55
    assert max(spread) > 0.95


def test_a_million_failures_do_not_overflow():
    delays = Backoff(first=0.05, ceiling=5.0)
    delays._failures = 1_000_000

    assert 2.5 <= delays.next_delay() <= 5.0
