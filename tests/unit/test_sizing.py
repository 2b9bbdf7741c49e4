"""How many jobs to claim ahead."""

import pytest

from dj_queue.runtime.sizing import LOOK_AHEAD_SECONDS, MAX_CLAIM, Sizing


def after(*batches: list[float]) -> Sizing:
    sizing = Sizing()
    for durations in batches:
        sizing.ended(durations)
    return sizing


def test_nothing_is_taken_ahead_before_anything_is_known():
    assert Sizing().ahead(100) == 0


def test_an_empty_batch_tells_nothing():
    assert after([]).ahead(100) == 0
    assert after([0.001], []).ahead(3) == after([0.001]).ahead(3)


def test_short_jobs_are_taken_ahead_for_as_long_as_the_look_ahead_lasts():
    sizing = after([0.001] * 10)

    assert sizing.ahead(1) == pytest.approx(LOOK_AHEAD_SECONDS / 0.001, abs=1)
    assert sizing.ahead(4) == pytest.approx(4 * LOOK_AHEAD_SECONDS / 0.001, abs=1)


def test_long_jobs_are_not_taken_ahead_for_one_thread():
    assert after([0.5]).ahead(1) == 0


def test_one_long_job_among_short_ones_ends_the_taking_ahead():
    assert after([0.001] * 99 + [2.0]).ahead(3) == 0
    assert after([0.001] * 99, [2.0]).ahead(3) == 0
    assert after([0.001] * 99, [0.001] * 99 + [2.0]).ahead(3) == 0


def test_short_jobs_win_the_measure_back_step_by_step():
    sizing = after([2.0])
    looks = []
    for _ in range(60):
        sizing.ended([0.0001] * 10)
        looks.append(sizing.ahead(3))

    assert looks[0] == 0
    assert looks == sorted(looks)
    assert looks[-1] > 0


def test_no_claim_is_larger_than_the_largest():
    assert after([0.0]).ahead(1000) == MAX_CLAIM
    assert after([1e-9]).ahead(1) <= MAX_CLAIM


def test_no_thread_needs_nothing():
    assert after([0.001]).ahead(0) == 0
