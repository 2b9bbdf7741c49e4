"""Jobs inside ASGI servers other than uvicorn, and inside and around other frameworks."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dj_queue.models import Process
from tests.contrib.losing import BUSY, WHICH, finished, serving_processes, stop_in_the_middle
from tests.contrib.servers import ROOT, environment, free_port, serving, uvicorn
from tests.waiting import PATIENCE, wait_until

SCRIPTS = Path(sys.executable).parent
SITE = "tests.site.asgi:application"

NO_LIFESPAN = "speaks no ASGI lifespan"


def hypercorn(log, *arguments, **options):
    port = free_port()
    command = ["-m", "hypercorn", "--bind", f"127.0.0.1:{port}", *arguments, SITE]
    return serving(command, log, port=port, **options)


def granian(log, **options):
    port = free_port()
    command = [str(SCRIPTS / "granian"), "--interface", "asgi", "--port", str(port), SITE]
    return serving(command, log, port=port, **options)


def gunicorn(log, **options):
    port = free_port()
    command = ["-m", "gunicorn", "-k", "asgi", "--bind", f"127.0.0.1:{port}", SITE]
    # It listens before its worker has started.
    return serving([*command, "--no-control-socket"], log, port=port, **options)


def daphne(log, **options):
    port = free_port()
    return serving(["-m", "daphne", "-p", str(port), SITE], log, port=port, **options)


def job_runs_where_it_was_enqueued(server):
    answer = server.get("enqueue", call={"task": WHICH})
    (job,) = finished(answer["ids"])
    return job.return_value == answer["pid"]


@pytest.mark.parametrize("server", [granian, gunicorn, hypercorn], ids=lambda made: made.__name__)
def test_a_server_with_lifespan_starts_jobs_with_itself_and_stops_without_loss(tmp_path, server):
    with server(tmp_path / "log", **BUSY) as running:
        wait_until(serving_processes)
        assert job_runs_where_it_was_enqueued(running)
        assert len(serving_processes()) == 1

        stop_in_the_middle(running, running.stop)
        assert running.process.returncode == 0
        assert NO_LIFESPAN not in running.output


def test_hypercorn_loses_nothing_when_its_whole_group_is_told_to_stop(tmp_path):
    """As systemd does it; its children have no handler, and SIGTERM would end them at once."""
    with hypercorn(tmp_path / "log", "--workers", "2", **BUSY) as server:
        wait_until(lambda: len(serving_processes()) == 2)

        def stop():
            os.killpg(server.process.pid, signal.SIGTERM)
            server.wait()
            wait_until(lambda: not Process.objects.exists())

        ids = stop_in_the_middle(server, stop)

    with hypercorn(tmp_path / "log"):
        finished(ids)


def test_daphne_starts_jobs_at_the_first_request_and_says_so(tmp_path):
    with daphne(tmp_path / "log", **BUSY) as server:
        assert not serving_processes()
        assert job_runs_where_it_was_enqueued(server)
        assert server.output.count(NO_LIFESPAN) == 1

        stop_in_the_middle(server, server.stop)


def test_around_starlette_both_lifespans_are_heard(tmp_path):
    application = "tests.site.asgi_mounted:around_starlette"
    with uvicorn(tmp_path / "log", application=application, **BUSY) as server:
        assert job_runs_where_it_was_enqueued(server)
        assert len(serving_processes()) == 1

        stop_in_the_middle(server, server.stop)

        # Jobs begin after what they may need is there, and have ended when it goes.
        assert "own startup, jobs run: False" in server.output
        assert "own shutdown, jobs run: False" in server.output
        assert NO_LIFESPAN not in server.output


def test_fastapi_takes_the_lifespan(tmp_path):
    application = "tests.site.asgi_mounted:fastapi"
    with uvicorn(tmp_path / "log", application=application, **BUSY) as server:
        assert job_runs_where_it_was_enqueued(server)

        stop_in_the_middle(server, server.stop)


def test_fastapi_does_not_start_when_the_lifespan_cannot(tmp_path):
    with (
        pytest.raises(AssertionError, match=r"could not be started in this server: .*threads"),
        uvicorn(
            tmp_path / "log",
            application="tests.site.asgi_mounted:fastapi",
            workers=[{"threads": "3x"}],
        ),
    ):
        pass


def test_inside_starlette_jobs_start_at_the_first_request_and_end_at_the_signal(tmp_path):
    application = "tests.site.asgi_mounted:inside_starlette"
    with uvicorn(tmp_path / "log", application=application) as server:
        assert not serving_processes()
        assert job_runs_where_it_was_enqueued(server)
        assert NO_LIFESPAN in server.output

        # uvicorn ends by that signal itself, so nothing that waits for the interpreter's end is called.
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not Process.objects.exists())


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is only kept on Linux")
def test_a_handler_of_sigterm_is_called_even_when_no_thread_can_be_started():
    ended = subprocess.run(
        [sys.executable, "-m", "tests.site.sigterm_without_threads"],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30 * PATIENCE,
        check=False,
    )

    assert "refusal: None" in ended.stdout
    assert "threads: can't start new thread" in ended.stdout
    assert "handler was called" in ended.stdout
    assert ended.returncode == 0, ended.stderr
