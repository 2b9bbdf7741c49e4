"""What runs jobs: threads and the event loop, without a database."""

import asyncio
import threading
import time
from dataclasses import dataclass

import pytest

from dj_queue.runtime.eventloop import EventLoop
from dj_queue.runtime.handed import MAX_WAIT_SECONDS
from dj_queue.runtime.pool import ThreadPool
from tests.waiting import wait_until


@dataclass
class Job:
    """As far as it is looked at here; also what stands for its outcome."""

    name: str = ""
    start_by: float = 0.0
    has_begun: bool = True


@pytest.fixture
def freed():
    return threading.Event()


@pytest.fixture
def pool(freed):
    pool = ThreadPool("pool", 1, run=lambda job: job, ended=lambda _: None, freed=freed.set)
    pool.start()
    yield pool
    pool.stop()
    pool.join(time.monotonic() + 5)


@pytest.fixture
def make_loop():
    made = []

    def make(run, *, size=100, **callbacks):
        callbacks = {"ended": lambda _: None, "freed": lambda: None, **callbacks}
        made.append(EventLoop("loop", size, run=run, **callbacks))
        return made[-1]

    yield make
    for loop in made:
        loop.stop()
        loop.join(time.monotonic() + 5)


def long_ago():
    return time.monotonic() - MAX_WAIT_SECONDS - 1


def test_a_thread_that_meets_an_expired_job_says_so(pool, freed):
    pool.add([Job()], long_ago())

    assert freed.wait(5)
    assert len(pool.jobs.take_expired()) == 1


def test_the_event_loop_says_so_too(make_loop, freed):
    async def run(job):
        return job

    loop = make_loop(run, freed=freed.set)
    loop.add([Job()], long_ago())

    assert freed.wait(5)
    assert len(loop.jobs.take_expired()) == 1


def test_a_job_that_comes_too_late_to_begin_is_given_back_and_has_not_ended(freed):
    ended, late = [], Job(has_begun=False)
    pool = ThreadPool("pool", 1, run=lambda job: job, ended=ended.append, freed=freed.set)
    pool.start()
    pool.add([late], time.monotonic())

    assert freed.wait(5)
    assert pool.jobs.take_expired() == [late]
    assert ended == []
    pool.stop()
    pool.join(time.monotonic() + 5)


def test_so_is_one_on_the_event_loop(make_loop, freed):
    async def run(job):
        return job

    ended, late = [], Job(has_begun=False)
    loop = make_loop(run, ended=ended.append, freed=freed.set)
    loop.add([late], time.monotonic())

    assert freed.wait(5)
    assert loop.jobs.take_expired() == [late]
    assert ended == []


def test_a_job_that_left_the_queue_is_never_nowhere():
    """Whoever stops the pool must see it: it is counted as waiting, or as running."""
    began, go_on = threading.Event(), threading.Event()

    def run(job):
        began.set()
        go_on.wait(5)
        return job

    pool = ThreadPool("pool", 1, run=run, ended=lambda _: None, freed=lambda: None)
    take = pool.jobs.take
    seen = []

    def take_slowly():
        job = take()
        if job is not None:
            seen.append(pool.busy)
        return job

    pool.jobs.take = take_slowly
    pool.start()
    pool.add([Job()], time.monotonic())
    assert began.wait(5)
    pool.stop()
    go_on.set()
    pool.join(time.monotonic() + 5)

    assert seen == [1]
    assert pool.busy == 0


def test_many_threads_that_bring_the_first_job_start_one_loop(make_loop):
    async def run(job):
        return job

    ended = []
    loop = make_loop(run, ended=ended.append)
    barrier = threading.Barrier(16)

    def bring():
        barrier.wait(5)
        loop.add([Job()], time.monotonic())

    threads = [threading.Thread(target=bring) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)

    wait_until(lambda: len(ended) == 16)
    assert sum(thread.name == "loop-loop" for thread in threading.enumerate()) == 1


def test_a_job_that_stops_the_loop_stops_nobody_else(make_loop):
    async def run(job):
        if job.name == "rude":
            asyncio.get_running_loop().stop()
        await asyncio.sleep(0.01)
        return job

    ended = []
    loop = make_loop(run, ended=ended.append)
    loop.add([Job("polite"), Job("rude"), Job("polite")], time.monotonic())
    wait_until(lambda: len(ended) == 3)
    loop.add([Job("late")], time.monotonic())

    wait_until(lambda: ended[-1].name == "late")


def test_the_loop_survives_what_a_left_behind_task_raises(make_loop):
    async def leave():
        raise SystemExit(3)

    async def run(job):
        if job.name == "rude":
            asyncio.get_running_loop().create_task(leave())
        await asyncio.sleep(0.01)
        return job

    ended = []
    loop = make_loop(run, ended=ended.append)
    loop.add([Job("rude"), Job("polite")], time.monotonic())

    wait_until(lambda: len(ended) == 2)
