"""How long to sleep when nobody wakes us."""

import random

import pytest

from dj_queue.runtime.polling import SAFETY_SECONDS, Polling


def sleeps(polling: Polling, count: int) -> list[float]:
    return [polling.seconds(is_woken=False) for _ in range(count)]


def test_sleeps_grow_to_the_interval():
    polling = Polling(0.1)

    found = sleeps(polling, 20)

    assert found == sorted(found)
    assert found[0] == 0.01
    assert found[-1] == 0.1
    assert found[1] > found[0]


def test_work_makes_the_next_sleep_short_again():
    polling = Polling(1.0)
    sleeps(polling, 30)

    polling.found_work()

    assert polling.seconds(is_woken=False) == 0.01


@pytest.mark.parametrize("interval", [0.001, 0.01, 0.02, 5.0])
def test_no_sleep_is_longer_than_the_interval(interval):
    assert max(sleeps(Polling(interval), 50)) == interval


def test_who_is_woken_looks_rarely_but_does_look():
    random.seed(3)
    polling = Polling(0.1)

    found = [polling.seconds(is_woken=True) for _ in range(300)]

    assert min(found) >= 0.7 * SAFETY_SECONDS
    assert max(found) <= SAFETY_SECONDS
    assert max(found) - min(found) > 0.2 * SAFETY_SECONDS


def test_an_interval_longer_than_the_safety_look_is_kept():
    found = [Polling(60.0).seconds(is_woken=True) for _ in range(50)]

    assert min(found) >= 42.0
    assert max(found) <= 60.0


def test_being_woken_does_not_use_up_the_short_sleeps():
    polling = Polling(1.0)

    polling.seconds(is_woken=True)

    assert polling.seconds(is_woken=False) == 0.01
