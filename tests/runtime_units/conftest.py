"""Single attempts: enqueued, claimed, run in a thread like a worker's, and written to the database."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from django.db import connections
from django.tasks import Task, TaskResult

from dj_queue.config import backend_config
from dj_queue.runtime.executor import TaskRunner
from dj_queue.store.records import ClaimedJob, Outcome
from tests.backend.conftest import (  # noqa: F401 - fixtures for this folder too
    heard,
    make_ready_again,
    make_worker,
    receive,
    use_tasks,
    worker,
)
from tests.backend.hand_worker import HandWorker


class Trial:
    """Runs jobs one after another in one thread, whose connections stay open from job to job."""

    def __init__(self, hand_worker: HandWorker) -> None:
        self.worker = hand_worker
        self._thread = ThreadPoolExecutor(1, "trial")

    @property
    def runner(self) -> TaskRunner:
        return TaskRunner(backend_config("default"), self.worker.name, self.worker.clock)

    def in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """What *function* returns in the thread of the jobs."""
        try:
            return self._thread.submit(function, *args).result(30)
        except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
            # These would end the test run instead of the test.
            raise AssertionError(f"this left the thread: {error!r}") from error

    def run(self, job: ClaimedJob) -> Outcome:
        return self.in_thread(self.runner.run, job)

    def arun(self, job: ClaimedJob) -> Outcome:
        return self.in_thread(_run_on_loop, self.runner, job)

    def enqueue_and_run(self, task: Task, *args: Any, **kwargs: Any) -> TaskResult:
        """The whole life of one job: its result as the database has it at the end."""
        return self.finish(task.enqueue(*args, **kwargs), self.run)

    def enqueue_and_arun(self, task: Task, *args: Any, **kwargs: Any) -> TaskResult:
        """The same on an event loop."""
        return self.finish(task.enqueue(*args, **kwargs), self.arun)

    def finish(
        self, result: TaskResult, run: Callable[[ClaimedJob], Outcome] | None = None
    ) -> TaskResult:
        """Claim the one ready job, run it, write its outcome, and read its result."""
        outcome = (run or self.run)(self.worker.claim_one())
        self.worker.write(outcome)
        result.refresh()
        return result

    def close(self) -> None:
        self._thread.submit(connections.close_all).result(30)
        self._thread.shutdown()


def _run_on_loop(runner: TaskRunner, job: ClaimedJob) -> Outcome:
    """Like the loop of a worker: what exits in an asyncio task of its own goes by, and the loop goes on."""
    with asyncio.Runner() as holder:
        loop = holder.get_loop()
        attempt = loop.create_task(runner.arun(job))
        while not attempt.done():
            with suppress(SystemExit, KeyboardInterrupt):
                loop.run_until_complete(asyncio.wait([attempt]))
        return attempt.result()


@pytest.fixture
def trial(worker) -> Iterator[Trial]:  # noqa: F811 - the fixture from above
    trial = Trial(worker)
    yield trial
    trial.close()
