"""Job ids sort by the time they were made, whatever the clock does."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from uuid import RFC_4122

import pytest

from dj_queue import ids

FAR_AHEAD = 0xFFFF_0000_0000
"""Milliseconds beyond what any clock shows while these tests run, so that no real time gets in."""


@pytest.fixture
def set_clock(monkeypatch) -> Callable[[int], None]:
    """Gives the clock of the ids, in milliseconds; what it was counts again after the test."""
    monkeypatch.setattr(ids, "_last_milliseconds", 0)
    monkeypatch.setattr(ids, "_counter", 0)

    def set_to(milliseconds: int) -> None:
        given = SimpleNamespace(time_ns=lambda: milliseconds * 1_000_000 + 999_999)
        monkeypatch.setattr(ids, "time", given)

    return set_to


def milliseconds_of(job_id) -> int:
    return job_id.int >> 80


def test_an_id_is_a_uuid_of_version_7():
    made = ids.new_job_ids(100)

    assert {each.version for each in made} == {7}
    assert {each.variant for each in made} == {RFC_4122}


def test_an_id_begins_with_the_time_in_milliseconds(set_clock):
    set_clock(FAR_AHEAD)

    assert milliseconds_of(ids.new_job_id()) == FAR_AHEAD


def test_ids_made_together_ascend():
    made = ids.new_job_ids(5000)

    assert made == sorted(made)
    assert len(set(made)) == 5000


def test_ids_made_one_after_another_ascend_as_numbers_and_as_text():
    made = [ids.new_job_id() for _ in range(2000)]

    assert made == sorted(made)
    assert [str(each) for each in made] == sorted(str(each) for each in made)


def test_ids_of_one_millisecond_ascend(set_clock):
    set_clock(FAR_AHEAD)

    made = [ids.new_job_id() for _ in range(100)]

    assert made == sorted(set(made))
    assert {milliseconds_of(each) for each in made} == {FAR_AHEAD}


def test_ids_ascend_across_a_clock_that_goes_back(set_clock):
    set_clock(FAR_AHEAD)
    before = ids.new_job_id()

    set_clock(FAR_AHEAD - 60_000)
    after = ids.new_job_ids(10)

    assert [before, *after] == sorted([before, *after])


def test_the_clock_counts_again_when_it_has_caught_up(set_clock):
    set_clock(FAR_AHEAD)
    ids.new_job_id()
    set_clock(FAR_AHEAD - 5)
    ids.new_job_id()

    set_clock(FAR_AHEAD + 1)

    assert milliseconds_of(ids.new_job_id()) == FAR_AHEAD + 1


def test_a_millisecond_is_borrowed_when_the_counter_is_used_up(set_clock, monkeypatch):
    set_clock(FAR_AHEAD)
    before = ids.new_job_id()
    monkeypatch.setattr(ids, "_counter", (1 << 74) - 3)

    made = ids.new_job_ids(10)

    assert [before, *made] == sorted({before, *made})
    assert {milliseconds_of(each) for each in made} == {FAR_AHEAD + 1}
    assert {each.version for each in made} == {7}
    assert {each.variant for each in made} == {RFC_4122}


def test_the_counter_carries_from_the_last_to_the_middle_part(set_clock, monkeypatch):
    """The variant's two bits stand between them, and must not be counted through."""
    set_clock(FAR_AHEAD)
    ids.new_job_id()
    monkeypatch.setattr(ids, "_counter", (1 << 62) - 2)

    made = ids.new_job_ids(4)

    assert made == sorted(set(made))
    assert {each.version for each in made} == {7}
    assert {each.variant for each in made} == {RFC_4122}


def test_no_ids_are_made_when_none_are_wanted():
    assert ids.new_job_ids(0) == []


def test_threads_never_make_the_same_id():
    made: list = []
    barrier = threading.Barrier(8)

    def make() -> None:
        barrier.wait(10)
        mine = [each for _ in range(100) for each in ids.new_job_ids(5)]
        assert mine == sorted(mine)
        made.extend(mine)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert len(made) == len(set(made)) == 8 * 500


_FORK_AND_PRINT = """
import os, sys, threading
from types import SimpleNamespace
from dj_queue import ids

# The clock stands still, so that only the counter can tell parent and child apart.
ids.time = SimpleNamespace(time_ns=lambda: 1_800_000_000_000_000_000)
ids.new_job_ids(10)
{before_fork}
if os.fork() == 0:
    print("child", *ids.new_job_ids(100), flush=True)
    os._exit(0)
{after_fork}
os.wait()
print("parent", *ids.new_job_ids(100), flush=True)
"""


def forked(*, before: str = "", after: str = "") -> dict[str, list[str]]:
    script = _FORK_AND_PRINT.format(before_fork=before, after_fork=after)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    return {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_forked_child_makes_other_ids_than_its_parent():
    made = forked()

    assert len(made["child"]) == len(made["parent"]) == 100
    assert not set(made["child"]) & set(made["parent"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_child_forked_while_an_id_is_being_made_can_make_ids():
    made = forked(before="ids._lock.acquire()", after="ids._lock.release()")

    assert len(made["child"]) == 100


def test_a_token_fits_a_signed_column_and_is_never_zero():
    tokens = [ids.new_token() for _ in range(1000)]

    assert all(0 < token < 2**63 for token in tokens)
    assert len(set(tokens)) == 1000


def test_the_smallest_token_is_one(monkeypatch):
    monkeypatch.setattr(ids, "secrets", SimpleNamespace(randbits=lambda _: 0))

    assert ids.new_token() == 1
