"""Claimed jobs on their way to a thread."""

import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import UUID

import pytest

from dj_queue.runtime import handed as module
from dj_queue.runtime.handed import MAX_WAIT_SECONDS, HandOver
from dj_queue.store.records import ClaimedJob


class Clock:
    def __init__(self) -> None:
        self.now = 500.0


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def jobs() -> list[ClaimedJob]:
    return [make_job(number) for number in range(4)]


def make_job(number: int) -> ClaimedJob:
    return ClaimedJob(
        id=UUID(int=number),
        token=number,
        task_path="tests.site.tasks.noop",
        queue_name="default",
        priority=0,
        executor=0,
        payload={"args": [], "kwargs": {}},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        scheduled_at=None,
        worker_ids=None,
        errors=None,
        first_started_at=None,
    )


def test_jobs_are_taken_in_the_order_in_which_they_were_offered(clock, jobs):
    handed = HandOver()
    handed.add(jobs[:2], clock.now)
    handed.add(jobs[2:], clock.now)

    assert len(handed) == 4
    assert [handed.take() for _ in range(4)] == jobs
    assert len(handed) == 0


def test_there_is_nothing_to_take_from_an_empty_one(clock):
    handed = HandOver()

    assert handed.take() is None
    assert handed.oldest_wait() == 0.0
    assert handed.take_expired() == []
    assert handed.take_back() == []


def test_a_job_that_waited_too_long_is_not_begun(clock, jobs):
    handed = HandOver()
    handed.add(jobs[:2], clock.now)
    handed.add(jobs[2:], clock.now + 1)
    clock.now += MAX_WAIT_SECONDS + 0.5

    assert handed.take() is jobs[2]
    assert handed.take_expired() == jobs[:2]
    assert handed.take_expired() == []


def test_a_job_that_waited_just_long_enough_is_begun(clock, jobs):
    handed = HandOver()
    handed.add(jobs[:1], clock.now)
    clock.now += MAX_WAIT_SECONDS

    assert handed.take() is jobs[0]


def test_the_wait_counts_from_the_request_and_not_from_its_answer(clock, jobs):
    handed = HandOver()

    handed.add(jobs[:1], clock.now - MAX_WAIT_SECONDS - 0.1)

    assert handed.take() is None
    assert handed.take_expired() == jobs[:1]


def test_the_oldest_wait_is_that_of_the_next_job(clock, jobs):
    handed = HandOver()
    handed.add(jobs[:1], clock.now)
    clock.now += 0.25
    handed.add(jobs[1:2], clock.now)

    assert handed.oldest_wait() == 0.25
    handed.take()
    assert handed.oldest_wait() == 0.0


def test_all_that_has_not_begun_is_taken_back(clock, jobs):
    handed = HandOver()
    handed.add(jobs[:1], clock.now - 10)
    handed.add(jobs[1:], clock.now)
    handed.take()

    back = handed.take_back()

    assert {job.id for job in back} == {jobs[0].id, jobs[2].id, jobs[3].id}
    assert len(handed) == 0
    assert handed.take_back() == []


def test_no_job_is_taken_twice_by_many_threads():
    handed = HandOver()
    jobs = [make_job(number) for number in range(2000)]
    taken: list[ClaimedJob] = []
    barrier = threading.Barrier(5)

    def take_all() -> None:
        barrier.wait(10)
        while (job := handed.take()) is not None:
            taken.append(job)

    threads = [threading.Thread(target=take_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    handed.add(jobs, module.time.monotonic())
    barrier.wait(10)
    back = handed.take_back()
    for thread in threads:
        thread.join(10)

    everything = [job.token for job in [*taken, *back]]
    assert sorted(everything) == list(range(2000))
