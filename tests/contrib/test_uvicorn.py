"""Jobs inside a real uvicorn: enqueued over HTTP, run in the same process, stopped without loss."""

import os
import signal
import time

import pytest

from dj_queue.models import ClaimedExecution, FailedExecution, Job, Process, ReadyExecution
from tests.contrib.servers import free_port, started, uvicorn
from tests.site import runtime_tasks as tasks_of_processes
from tests.site import tasks
from tests.waiting import wait_until

WHICH = "tests.site.runtime_tasks.which_process"
SLEEP = "tests.site.contrib_tasks.sleep_and_note"


def enqueue_all(calls):
    return tasks.add.get_backend().enqueue_all(calls)


def finished(ids, *, seconds=20):
    wait_until(
        lambda: Job.objects.filter(id__in=ids).finished().count() == len(ids),
        seconds=seconds,
        what=f"{len(ids)} finished jobs",
    )
    return Job.objects.filter(id__in=ids)


def test_a_job_runs_in_the_process_that_served_the_request(tmp_path):
    with uvicorn(tmp_path / "log") as server:
        (job,) = finished(server.enqueue(WHICH))
        answer = server.get("enqueue-async", call={"task": WHICH})
        (other,) = finished(answer["ids"])

        assert job.return_value == server.process.pid
        assert other.return_value == server.process.pid


def test_jobs_that_another_process_enqueues_wake_the_server(tmp_path):
    with uvicorn(tmp_path / "log") as server:
        finished(server.enqueue())

        # Well below the safety poll: the server was woken, or polls.
        finished([tasks.add.enqueue(1, 2).id], seconds=8)


def test_only_as_many_processes_run_jobs_as_should(tmp_path):
    options = {"embedded_processes": 1, "journal_directory": str(tmp_path / "journals")}
    with uvicorn(tmp_path / "log", "--workers", "2", **options) as server:
        wait_until(lambda: Process.objects.filter(kind="Worker").count() == 2)
        calls = [(tasks_of_processes.which_process, (), {}) for _ in range(50)]
        first = finished([result.id for result in enqueue_all(calls)])
        (runner,) = {job.return_value for job in first}

        os.kill(runner, signal.SIGKILL)
        more = finished([result.id for result in enqueue_all(calls)])

        (successor,) = {job.return_value for job in more}
        assert successor != runner
        assert server.process.poll() is None


def test_stopping_loses_nothing(tmp_path):
    with uvicorn(tmp_path / "log", workers=[{"threads": 2}], shutdown_timeout=10) as server:
        ids = server.enqueue(SLEEP, 0.2, count=40)
        wait_until(lambda: Job.objects.finished().count() >= 4)

        status = server.stop(signal.SIGTERM)

    done = Job.objects.filter(id__in=ids).finished().count()
    assert status in (0, -signal.SIGTERM)
    assert done + ReadyExecution.objects.count() == 40
    assert done < 40
    assert not ClaimedExecution.objects.exists()
    assert not FailedExecution.objects.exists()
    assert not Process.objects.exists()


def test_claiming_ends_at_the_signal_though_a_request_is_still_open(tmp_path):
    with uvicorn(tmp_path / "log", workers=[{"threads": 1}]) as server:
        finished(server.enqueue())
        ids = server.enqueue(SLEEP, 0.1, count=100)
        with server.open_request(tmp_path):
            wait_until(lambda: Job.objects.filter(id__in=ids).finished().exists())

            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not ClaimedExecution.objects.exists(), seconds=3)
            count = Job.objects.finished().count()

            assert server.process.poll() is None
            assert ReadyExecution.objects.count() + count == 101
        server.wait()
        assert Job.objects.finished().count() == count


def test_interrupting_stops_in_an_orderly_way(tmp_path):
    with uvicorn(tmp_path / "log") as server:
        finished(server.enqueue())

        status = server.stop(signal.SIGINT)

    assert status in (0, -signal.SIGINT)
    assert not Process.objects.exists()


def test_two_workers_run_each_job_once(tmp_path):
    log = tmp_path / "log"
    with uvicorn(log, "--workers", "2") as server:
        wait_until(lambda: Process.objects.filter(kind="Worker").count() == 2, seconds=30)
        ids = server.enqueue(SLEEP, 0.2, count=60)
        jobs = finished(ids)

        assert {job.worker_ids[0] for job in jobs} <= set(
            Process.objects.filter(kind="Worker").values_list("name", flat=True)
        )
        assert all(len(job.worker_ids) == 1 for job in jobs)
        assert len({job.return_value for job in jobs}) == 2

        server.stop(signal.SIGTERM)

    wait_until(lambda: not Process.objects.exists())


def test_a_reload_replaces_the_runtime(tmp_path):
    package = tmp_path / "watched"
    package.mkdir()
    module = package / "touched.py"
    module.write_text("x = 1\n")
    with uvicorn(tmp_path / "log", "--reload", "--reload-dir", str(package)) as server:
        (first,) = finished(server.enqueue(WHICH))
        # uvicorn looks at times of change in whole steps of its watcher.
        os.utime(module, (time.time() + 10, time.time() + 10))
        wait_until(lambda: server.output.count("Application startup complete") == 2, seconds=30)

        (second,) = finished(server.enqueue(WHICH))

        assert first.return_value != second.return_value
        assert Process.objects.filter(kind="Supervisor").count() == 1


def test_a_wrong_setting_is_logged_and_the_site_served_all_the_same(tmp_path):
    with uvicorn(tmp_path / "log", workers=[{"threads": "3x"}]) as server:
        assert server.get("slow", seconds=0)["pid"] == server.process.pid
        assert "['workers'][0]['threads'] must be a whole number of at least 1, not '3x'" in (
            server.output
        )


def test_a_wrong_setting_keeps_a_server_that_requires_jobs_from_starting(tmp_path):
    with (
        pytest.raises(AssertionError, match="must be a whole number"),
        uvicorn(
            tmp_path / "log",
            application="tests.site.asgi_variants:required",
            workers=[{"threads": "3x"}],
        ),
    ):
        pass


def test_wrapping_twice_gives_one_runtime(tmp_path):
    with uvicorn(tmp_path / "log", application="tests.site.asgi_variants:twice") as server:
        finished(server.enqueue())

        assert Process.objects.filter(kind="Supervisor").count() == 1
        server.stop(signal.SIGTERM)

    assert not Process.objects.exists()


def test_an_application_with_a_lifespan_of_its_own_keeps_it(tmp_path):
    with uvicorn(
        tmp_path / "log", application="tests.site.asgi_variants:with_own_lifespan"
    ) as server:
        finished(server.enqueue())
        server.stop(signal.SIGTERM)
        output = server.output

    assert output.index("own startup") < output.index("own shutdown")
    assert not Process.objects.exists()


def test_without_a_lifespan_jobs_run_from_the_first_request_on(tmp_path):
    log = tmp_path / "log"

    port = free_port()
    command = [
        "-m",
        "uvicorn",
        "tests.site.asgi:application",
        "--port",
        str(port),
        "--lifespan",
        "off",
    ]
    with started(command, log, port=port, ready="Uvicorn running on") as server:
        finished(server.enqueue())

        assert "speaks no ASGI lifespan" in server.output
