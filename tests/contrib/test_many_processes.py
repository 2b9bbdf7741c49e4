"""Four processes that enqueue and work on one database at the same time."""

import json
import os
import subprocess
import sys

from dj_queue.models import ClaimedExecution, Job, ReadyExecution
from dj_queue.runtime.supervisor import Supervisor
from tests.contrib.servers import ROOT, environment
from tests.waiting import PATIENCE, wait_until

# A minute is what we promise for SQLite; a test run takes less unless it is told to.
SECONDS = float(os.environ.get("DJ_QUEUE_TEST_MANY_PROCESSES_SECONDS", "5"))


def test_no_error_and_every_job_once():
    command = [sys.executable, "-m", "tests.site.enqueue_and_work", str(SECONDS)]
    processes = [
        subprocess.Popen(command, env=environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]

    reports = [
        json.loads(process.communicate(timeout=SECONDS + 60 * PATIENCE)[0].splitlines()[-1])
        for process in processes
    ]

    assert [report["errors"] for report in reports] == [[], [], [], []]
    enqueued = sum(report["enqueued"] for report in reports)
    assert Job.objects.count() == enqueued > 0
    assert not ClaimedExecution.objects.exists()
    _work_off_the_rest()
    assert Job.objects.finished().count() == enqueued
    assert all(len(ids) == 1 for ids in Job.objects.values_list("worker_ids", flat=True))


def _work_off_the_rest():
    supervisor = Supervisor.from_backend_config()
    supervisor.start()
    wait_until(
        lambda: not ReadyExecution.objects.exists() and not ClaimedExecution.objects.exists(),
        seconds=120,
    )
    supervisor.stop(10)
