"""Jobs in every state, made by real enqueues and workers that a test moves by hand."""

from collections.abc import Callable
from typing import Any

import pytest

from dj_queue.models import Job
from tests.backend.conftest import (  # noqa: F401 - fixtures
    count_statements,
    heard,
    make_worker,
    queue_database,
    second_database,
    use_tasks,
    worker,
)
from tests.backend.hand_worker import HandWorker
from tests.runtime.conftest import failures, finished, make_runtime  # noqa: F401 - fixtures
from tests.site.tasks import noop


@pytest.fixture
def make_failed(make_worker) -> Callable[..., list[Job]]:  # noqa: F811
    """Makes jobs that failed in one attempt; the worker that ran them is called `worker-1`."""

    def make(count: int = 1, *, task: Any = noop, backend: str = "default") -> list[Job]:
        calls = [(task.using(backend=backend), (), {})] * count
        results = task.using(backend=backend).get_backend().enqueue_all(calls)
        hand: HandWorker = make_worker(backend=backend)
        for claimed in hand.claim(count):
            hand.fail(claimed)
        return [Job.objects.get(pk=result.id) for result in results]

    return make
