"""Runtimes for the tests: started with options, stopped at the end, their errors seen."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dj_queue import events
from dj_queue.config import BACKEND_PATH
from dj_queue.runtime.supervisor import Supervisor
from tests.site import runtime_tasks
from tests.waiting import wait_until


@pytest.fixture
def failures() -> Iterator[list[events.ActorFailed]]:
    """The errors that actors reported."""
    seen: list[events.ActorFailed] = []
    unsubscribe = events.subscribe(events.ActorFailed, seen.append)
    yield seen
    unsubscribe()


@pytest.fixture
def make_runtime(failures) -> Iterator[Callable[..., Supervisor]]:
    """Makes supervisors with the given options; *started* ones are registered when you get them."""
    made: list[Supervisor] = []

    def make(*, started: bool = True, **options: Any) -> Supervisor:
        tasks = {"default": {"BACKEND": BACKEND_PATH, "OPTIONS": options}}
        supervisor = Supervisor.from_backend_config(tasks_settings=tasks)
        made.append(supervisor)
        if started:
            supervisor.start()
            assert supervisor.wait_until_ready(15), failures
        return supervisor

    yield make
    runtime_tasks.reset()
    for supervisor in made:
        supervisor.stop(5)


@pytest.fixture
def finished() -> Callable[..., list[Any]]:
    """Waits until results are finished and returns them refreshed."""

    def wait(*results: Any, seconds: float = 15.0) -> list[Any]:
        def all_done() -> bool:
            for result in results:
                if not result.is_finished:
                    result.refresh()
            return all(result.is_finished for result in results)

        wait_until(all_done, seconds=seconds, what=f"finished: {results}")
        return list(results)

    return wait
