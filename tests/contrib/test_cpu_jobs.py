"""A web server answers while its worker's children compute."""

import os
import signal

from dj_queue.models import ClaimedExecution, FailedExecution, Job, Process
from tests.contrib.servers import uvicorn
from tests.runtime.test_process_workers import is_gone, pid_in
from tests.waiting import wait_until

COMPUTE = "tests.site.process_tasks.compute"
WORKERS = [{"executor": "process", "threads": 4}, {"threads": 1}]


def test_requests_and_other_jobs_are_served_while_four_jobs_compute(tmp_path):
    with uvicorn(tmp_path / "log", workers=WORKERS) as server:
        computing = [
            *server.enqueue(COMPUTE, 60, str(tmp_path / "1")),
            *server.enqueue(COMPUTE, 60, str(tmp_path / "2")),
            *server.enqueue(COMPUTE, 60, str(tmp_path / "3")),
            *server.enqueue(COMPUTE, 60, str(tmp_path / "4")),
        ]
        pids = {pid_in(tmp_path / name) for name in "1234"}

        (other,) = server.enqueue("tests.site.process_tasks.only_in_a_thread")
        wait_until(Job.objects.filter(id=other).finished().exists)

        assert len(pids) == 4
        assert server.process.pid not in pids
        assert Job.objects.get(id=other).return_value == server.process.pid
        assert ClaimedExecution.objects.filter(job_id__in=computing).count() == 4
        assert server.get("slow", seconds=0)["pid"] == server.process.pid

        server.stop(signal.SIGTERM)

    # They had OPTIONS["shutdown_timeout"] to end.
    assert FailedExecution.objects.filter(job_id__in=computing).count() == 4
    assert not ClaimedExecution.objects.exists()
    assert not Process.objects.exists()
    assert all(map(is_gone, pids))


def test_children_die_with_a_server_that_is_killed(tmp_path):
    with uvicorn(tmp_path / "log", workers=WORKERS) as server:
        server.enqueue(COMPUTE, 60, str(tmp_path / "pid"))
        pid = pid_in(tmp_path / "pid")

        server.process.kill()

        wait_until(lambda: is_gone(pid), seconds=3)


def test_interrupting_the_server_lets_the_children_finish_their_jobs(tmp_path):
    with uvicorn(tmp_path / "log", workers=WORKERS, shutdown_timeout=15) as server:
        (job,) = server.enqueue(COMPUTE, 1.5, str(tmp_path / "pid"))
        pid = pid_in(tmp_path / "pid")

        # As ^C in a terminal does: to the whole group.
        os.killpg(server.process.pid, signal.SIGINT)
        server.wait()

    assert Job.objects.get(id=job).return_value == pid
