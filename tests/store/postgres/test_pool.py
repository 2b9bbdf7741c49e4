"""Tasks whose connections come from psycopg's pool, with more threads than the pool has connections."""

import pytest

from dj_queue.models import FailedExecution, Job
from tests.contrib.servers import started
from tests.site import runtime_tasks
from tests.waiting import wait_until


@pytest.fixture
def small_pool(monkeypatch):
    monkeypatch.setenv("DJ_QUEUE_TEST_POOL", '{"min_size": 1, "max_size": 2, "timeout": 3}')


def test_threads_share_the_connections_of_a_small_pool(tmp_path, small_pool):
    backend = runtime_tasks.count_rows.get_backend()
    with started(
        ["-m", "django", "dj_queue"],
        tmp_path / "log",
        ready="Stop with ^C",
        workers=[{"threads": 6}],
    ):
        backend.enqueue_all([(runtime_tasks.count_rows, (), {})] * 60)
        wait_until(lambda: Job.objects.finished().count() + FailedExecution.objects.count() == 60)

    assert not FailedExecution.objects.exists()
