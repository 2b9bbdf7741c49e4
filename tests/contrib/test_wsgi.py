"""Jobs inside real WSGI servers, of which each starts and ends in its own way."""

import os
import signal
import sys
import time
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from urllib.error import URLError

import pytest

from dj_queue.contrib import wsgi
from dj_queue.models import ClaimedExecution, FailedExecution, Process
from dj_queue.runtime import embedded
from tests.contrib.losing import (
    BUSY,
    SLEEP,
    WHICH,
    finished,
    serving_processes,
    stop_in_the_middle,
)
from tests.contrib.servers import free_port, serving
from tests.site import tasks
from tests.waiting import PATIENCE, wait_until

SCRIPTS = Path(sys.executable).parent


def uwsgi(log, *arguments, **options):
    port = free_port()
    command = [
        str(SCRIPTS / "uwsgi"),
        *("--http-socket", f"127.0.0.1:{port}"),
        *("--module", "tests.site.wsgi:application"),
        *("--need-app", "--die-on-term"),
        # At SIGHUP uWSGI runs itself again; as a Python package it takes the base interpreter for itself.
        *("--binary-path", sys.executable),
        *arguments,
    ]
    return serving(command, log, port=port, **options)


def waitress(log, *, application="tests.site.wsgi:application", **options):
    port = free_port()
    command = ["-m", "waitress", "--listen", f"127.0.0.1:{port}", application]
    return serving(command, log, port=port, **options)


@contextmanager
def runserver(folder, *arguments, **options):
    """`manage.py runserver` with a settings module of its own, so that a test can change that file."""
    settings = folder / "watched_settings.py"
    settings.write_text(
        "from tests.settings import *\nWSGI_APPLICATION = 'tests.site.wsgi.application'\n"
    )
    port = free_port()
    command = [
        *("-m", "django", "runserver", str(port)),
        *("--pythonpath", str(folder), "--settings", "watched_settings"),
        *arguments,
    ]
    with serving(command, folder / "log", port=port, **options) as server:
        yield server, settings


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_uwsgi_runs_jobs_in_its_workers_and_not_in_its_master(tmp_path):
    with uwsgi(tmp_path / "log", "--master", "--processes", "2", "--mule", **BUSY) as server:
        # Before anybody has asked for anything.
        pids = wait_until(lambda: len(serving_processes()) == 2 and serving_processes())
        (job,) = finished(server.enqueue(WHICH))

        assert serving_processes() == pids
        assert server.process.pid not in pids
        assert job.return_value in pids

        server.process.send_signal(signal.SIGHUP)
        new = wait_until(
            lambda: len(serving_processes() - pids) == 2 and serving_processes(), seconds=30
        )
        assert not new & pids
        ids = stop_in_the_middle(server, server.stop)

    with uwsgi(tmp_path / "log", "--master"):
        finished(ids)


@pytest.mark.parametrize("arguments", [["--master", "--lazy-apps"], []], ids=" ".join)
def test_uwsgi_in_other_modes_runs_jobs_too(tmp_path, arguments):
    with uwsgi(tmp_path / "log", *arguments, **BUSY) as server:
        answer = server.get("enqueue", call={"task": WHICH})
        (job,) = finished(answer["ids"])
        assert job.return_value == answer["pid"]
        assert len(serving_processes()) == 1

        stop_in_the_middle(server, server.stop)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_waitress_starts_with_the_site_and_stops_without_loss(tmp_path, number):
    with waitress(tmp_path / "log", **BUSY) as server:
        wait_until(lambda: serving_processes() == {server.process.pid})

        stop_in_the_middle(server, lambda: server.stop(number))

    # For whoever waits for it, SIGTERM has ended it as ever.
    assert server.process.returncode == (-signal.SIGTERM if number == signal.SIGTERM else 0)


def test_a_server_that_is_not_known_starts_at_the_first_request(tmp_path):
    port = free_port()
    command = [
        str(SCRIPTS / "granian"),
        *("--interface", "wsgi", "--port", str(port)),
        "tests.site.wsgi:application",
    ]
    with serving(command, tmp_path / "log", port=port, ready="Started worker", **BUSY) as server:
        assert not serving_processes()
        answer = server.get("enqueue", call={"task": WHICH})
        (job,) = finished(answer["ids"])
        assert job.return_value == answer["pid"]

        stop_in_the_middle(server, server.stop)


def test_runserver_has_one_runtime_and_a_reload_replaces_it_at_once(tmp_path):
    with runserver(tmp_path, shutdown_timeout=25) as (server, settings):
        (old,) = wait_until(serving_processes)
        assert old != server.process.pid
        long = server.enqueue(SLEEP, 30)
        wait_until(lambda: ClaimedExecution.objects.filter(job_id__in=long).exists())

        (new,) = wait_until(partial(replaced, old, Touching(settings)), seconds=20)
        wait_until(lambda: serving_processes() == {new})
        # Its runtime starts a little before it listens.
        (job,) = finished(wait_until(lambda: enqueued(server), seconds=20), seconds=30)

        assert job.return_value == new
        assert not is_alive(old)
        # A job that ran was not waited for, and its end is on record.
        assert [str(failed.job_id) for failed in FailedExecution.objects.all()] == long

        # As ^C in a terminal.
        os.killpg(server.process.pid, signal.SIGINT)
        server.wait()
        wait_until(lambda: not is_alive(new))


class Touching:
    """Changes a file, and again some seconds later: the first time, the reloader may not have looked yet."""

    def __init__(self, path):
        self._path = path
        self._again_at = 0.0
        self._times = count(1)

    def __call__(self):
        if time.monotonic() >= self._again_at:
            self._again_at = time.monotonic() + 5 * PATIENCE
            # Later than what the reloader has seen, whatever the file system's resolution.
            later = time.time() + 10 * next(self._times)
            os.utime(self._path, (later, later))


def replaced(old, touch):
    """The processes that serve in the place of *old*, after a change of a file."""
    touch()
    return serving_processes() - {old}


def enqueued(server):
    """The ids of a job, or None where the server does not listen."""
    try:
        return server.enqueue(WHICH)
    except URLError:
        return None


def test_runserver_without_reloader_is_one_process(tmp_path):
    with runserver(tmp_path, "--noreload") as (server, _):
        wait_until(lambda: serving_processes() == {server.process.pid})
        (job,) = finished(server.enqueue(WHICH))
        assert job.return_value == server.process.pid

        server.stop(signal.SIGINT)

    assert not Process.objects.exists()


def test_a_wrong_setting_is_logged_and_the_site_served_all_the_same(tmp_path):
    with waitress(tmp_path / "log", workers=[{"threads": "3x"}]) as server:
        assert server.get("slow", seconds=0)["pid"] == server.process.pid
        assert "['workers'][0]['threads'] must be a whole number of at least 1, not '3x'" in (
            server.output
        )


def test_a_wrong_setting_keeps_a_server_that_requires_jobs_from_starting(tmp_path):
    with (
        pytest.raises(AssertionError, match="must be a whole number"),
        waitress(
            tmp_path / "log",
            application="tests.site.wsgi_required:application",
            workers=[{"threads": "3x"}],
        ),
    ):
        pass


def test_the_wrapper_leaves_to_a_hook_what_the_hook_has_started(monkeypatch):
    # As in a process that has served nothing yet.
    monkeypatch.setattr(wsgi, "_holds", {})
    application = wsgi.DjQueueWSGI(lambda environ, start_response: [b"served"])
    embedded.acquire()

    application({}, None)
    embedded.release()

    assert embedded.running() is None
    # A request that comes after the hook has stopped the runtime does not start another.
    application({}, None)
    assert embedded.running() is None


def test_starting_and_stopping_by_hand_is_the_same_twice_as_once():
    assert wsgi.start(required=True)
    assert wsgi.start()
    assert wsgi.DjQueueWSGI(lambda environ, start_response: [b"served"])({}, None) == [b"served"]
    result = tasks.add.enqueue(1, 2)
    finished([result.id])
    assert len(serving_processes()) == 1

    assert wsgi.stop()
    assert wsgi.stop()

    assert not Process.objects.exists()
