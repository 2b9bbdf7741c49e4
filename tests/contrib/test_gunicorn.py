"""Jobs inside a real Gunicorn: every kind of worker, every signal, and nothing lost."""

import configparser
import math
import os
import runpy
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from dj_queue.models import ClaimedExecution, FailedExecution, Job, Process, ReadyExecution
from tests.contrib.servers import ROOT, free_port, started
from tests.waiting import PATIENCE, wait_until

WHICH = "tests.site.runtime_tasks.which_process"
SLEEP = "tests.site.contrib_tasks.sleep_and_note"
NOTE = "tests.site.contrib_tasks.note_in_file"
CONFIGURATION = "tests/site/gunicorn_conf.py"

WSGI, ASGI = "tests.site.gunicorn_site:wsgi", "tests.site.gunicorn_site:asgi"
WORKERS = {
    "sync": WSGI,
    "gthread": WSGI,
    "asgi": ASGI,
    "uvicorn_worker.UvicornWorker": ASGI,
}


@contextmanager
def gunicorn(
    log, *arguments, kind="gthread", application=None, configuration=CONFIGURATION, **options
):
    port = free_port()
    # The script and not -m: after SIGUSR2 Gunicorn starts again what it finds in sys.argv.
    script = str(Path(sys.executable).with_name("gunicorn"))
    command = [script, "--config", str(configuration), "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class", kind] if kind else []
    # Its path is the same for all servers of a user.
    command += ["--no-control-socket", *arguments, application or WORKERS[kind]]
    with started(command, log, port=port, ready="Booting worker", **options) as server:
        yield server


def in_thread(function, *arguments, **keywords):
    def call():
        with suppress(OSError):  # The server may go away first.
            function(*arguments, **keywords)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def children(server):
    return psutil.Process(server.process.pid).children()


def runtimes():
    """The pids of the processes that have a runtime."""
    return list(Process.objects.filter(kind="Supervisor").values_list("pid", flat=True))


def the_runtime(*, other_than=()):
    """Wait until exactly one process has a runtime, and not one of *other_than*; its pid."""

    def only_one():
        pids = runtimes()
        return pids[0] if len(pids) == 1 and pids[0] not in other_than else None

    return wait_until(only_one, seconds=20, what="one process with a runtime")


def finished(ids, *, seconds=20):
    wait_until(
        lambda: Job.objects.filter(id__in=ids).finished().count() == len(ids),
        seconds=seconds,
        what=f"{len(ids)} finished jobs",
    )
    return list(Job.objects.filter(id__in=ids))


def assert_nothing_is_lost(count):
    """All of *count* jobs have run well or are ready, none is claimed, and everybody has signed off."""
    assert not FailedExecution.objects.exists()
    assert not ClaimedExecution.objects.exists()
    assert Job.objects.finished().count() + ReadyExecution.objects.count() == count
    assert not Process.objects.exists()


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
@pytest.mark.parametrize("kind", WORKERS)
def test_jobs_run_in_the_web_worker_and_sigterm_loses_none(tmp_path, kind, preload):
    arguments = ["--preload", "--workers=2"] if preload else []
    options = {"workers": [{"threads": 2}], "shutdown_timeout": 10}
    with gunicorn(tmp_path / "log", *arguments, kind=kind, **options) as server:
        wait_until(lambda: len(runtimes()) == 1 + preload, seconds=20)
        assert set(runtimes()) == {child.pid for child in children(server)}
        ids = server.enqueue(WHICH) + server.enqueue(WHICH) + server.enqueue(WHICH)
        assert {job.return_value for job in finished(ids)} <= set(runtimes())
        many = server.enqueue(SLEEP, 0.2, count=40)
        wait_until(lambda: Job.objects.filter(id__in=many).finished().count() >= 4)

        status = server.stop(signal.SIGTERM)

    assert status == 0, server.output
    assert ReadyExecution.objects.exists()
    assert_nothing_is_lost(43)
    assert "Exception" not in server.output


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("sync", signal.SIGINT),
        ("gthread", signal.SIGQUIT),
        ("asgi", signal.SIGINT),
        ("uvicorn_worker.UvicornWorker", signal.SIGINT),
    ],
)
def test_interrupting_lets_running_jobs_end_too(tmp_path, kind, number):
    notes = tmp_path / "notes"
    options = {"workers": [{"threads": 2}], "shutdown_timeout": 10}
    with gunicorn(tmp_path / "log", kind=kind, **options) as server:
        the_runtime()
        server.enqueue(NOTE, str(notes), "begun", 1, count=40)
        # That they are claimed does not say that they run: what has not begun is given back.
        wait_until(lambda: begun(notes) >= 2)

        # As ^C does: the workers get it beside the arbiter, which then tells them again.
        os.killpg(server.process.pid, number)
        status = server.wait()

    assert status == 0, server.output
    assert 2 <= Job.objects.finished().count() == begun(notes) < 40
    assert_nothing_is_lost(40)


def test_a_worker_that_is_killed_because_it_ignores_an_interrupted_arbiter_loses_no_job(tmp_path):
    """UvicornWorker does not end at SIGQUIT, which is what the arbiter makes of SIGINT."""
    arguments, options = ["--graceful-timeout=8"], {"workers": [{"threads": 2}]}
    kind = "uvicorn_worker.UvicornWorker"
    with gunicorn(tmp_path / "log", *arguments, kind=kind, shutdown_timeout=2, **options) as server:
        the_runtime()
        ids = server.enqueue(SLEEP, 0.2, count=200)
        wait_until(lambda: _done(ids).count() >= 4)

        assert server.stop(signal.SIGINT) == 0
        assert "was sent SIGKILL" in server.output

    assert ReadyExecution.objects.exists()
    assert_nothing_is_lost(200)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_signal_that_comes_again_while_it_is_handled_is_not_handled_twice(tmp_path, number):
    """Gunicorn's handler takes a lock, and would wait for itself."""
    configuration = "tests/site/gunicorn_conf_again.py"
    with gunicorn(tmp_path / "log", configuration=configuration) as server:
        os.kill(the_runtime(), number)
        wait_until(lambda: "Worker exiting" in server.output)

        assert server.output.count("worker_int") == 1


def begun(notes):
    return len(notes.read_text().splitlines()) if notes.exists() else 0


@pytest.mark.parametrize("kind", ["gthread", "uvicorn_worker.UvicornWorker"])
def test_claiming_ends_at_the_signal_though_a_request_is_still_open(tmp_path, kind):
    arguments = ["--threads=4"] if kind == "gthread" else []
    with gunicorn(tmp_path / "log", *arguments, kind=kind, workers=[{"threads": 1}]) as server:
        the_runtime()
        ids = server.enqueue(SLEEP, 0.1, count=60)
        with server.open_request(tmp_path):
            wait_until(lambda: Job.objects.filter(id__in=ids).finished().exists())

            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not ClaimedExecution.objects.exists(), seconds=2)
            count = Job.objects.finished().count()

            assert runtimes()
        server.wait()

    assert Job.objects.finished().count() == count < 60
    assert_nothing_is_lost(60)


def test_jobs_are_recorded_before_the_arbiter_kills_a_worker_whose_request_does_not_end(tmp_path):
    arguments = ["--threads=2", "--graceful-timeout=4"]
    with gunicorn(tmp_path / "log", *arguments, shutdown_timeout=1) as server:
        the_runtime()
        in_thread(server.get, "slow", seconds=60, timeout=60)
        (running,) = server.enqueue(SLEEP, 60)
        wait_until(lambda: ClaimedExecution.objects.exists())

        server.stop(signal.SIGTERM)

    assert FailedExecution.objects.get().job_id == Job.objects.get(id=running).id
    assert not ClaimedExecution.objects.exists()
    assert not Process.objects.exists()


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("gthread", []),
        ("gthread", ["--preload"]),
        ("asgi", []),
        ("uvicorn_worker.UvicornWorker", []),
    ],
)
def test_a_reload_and_a_killed_worker_are_followed_by_a_new_runtime(tmp_path, kind, arguments):
    options = {"workers": [{"threads": 2}], "shutdown_timeout": 10}
    with gunicorn(tmp_path / "log", *arguments, kind=kind, **options) as server:
        first = the_runtime()
        ids = server.enqueue(SLEEP, 0.1, count=40)
        wait_until(lambda: Job.objects.filter(id__in=ids).finished().exists())

        server.process.send_signal(signal.SIGHUP)
        second = the_runtime(other_than=[first])
        assert {job.return_value for job in finished(ids)} == {first, second}
        assert not psutil.pid_exists(first)

        os.kill(second, signal.SIGKILL)
        wait_until(lambda: any(pid not in (first, second) for pid in runtimes()), seconds=20)
        third = next(pid for pid in runtimes() if pid != second)
        (job,) = finished(server.enqueue(WHICH))
        assert job.return_value == third


def test_a_second_generation_works_beside_the_first_and_alone(tmp_path):
    pidfile = tmp_path / "pid"
    with gunicorn(tmp_path / "log", f"--pid={pidfile}", workers=[{"threads": 1}]) as server:
        first = the_runtime()

        server.process.send_signal(signal.SIGUSR2)
        second = wait_until(
            lambda: next((pid for pid in runtimes() if pid != first), None), seconds=30
        )
        arbiter = int((tmp_path / "pid.2").read_text())
        ids = server.enqueue(SLEEP, 0.1, count=60)
        try:
            wait_until(lambda: {job.return_value for job in _done(ids)} >= {first, second})
            server.stop(signal.SIGTERM)

            assert runtimes() == [second]
            finished(ids)
            (job,) = finished(server.enqueue(WHICH))
            assert job.return_value == second
        finally:
            os.kill(arbiter, signal.SIGTERM)
            wait_until(lambda: not psutil.pid_exists(second), seconds=20)

    assert_nothing_is_lost(61)


def _done(ids):
    return Job.objects.filter(id__in=ids).finished()


def test_a_drain_may_be_longer_than_the_timeout_of_a_worker(tmp_path):
    """The arbiter takes a worker without a sign of life for hung, and kills it."""
    # A worker that only waits for its turn on a busy machine does not hang.
    timeout = math.ceil(2 * PATIENCE)
    stop = timeout + 13
    arguments = [f"--timeout={timeout}", "--max-requests=4", f"--graceful-timeout={stop + 5}"]
    with gunicorn(tmp_path / "log", *arguments, kind="sync", shutdown_timeout=stop) as server:
        first = the_runtime()
        (job,) = server.enqueue(SLEEP, timeout + 2.5)
        wait_until(lambda: ClaimedExecution.objects.exists())
        # It hangs for so long, is aborted, and then its job needs some more.
        in_thread(server.get, "block", timeout=60)
        wait_until(lambda: "WORKER TIMEOUT" in server.output)
        assert finished([job])[0].return_value == first

        second = the_runtime(other_than=[first])
        (job,) = server.enqueue(SLEEP, timeout + 1)
        wait_until(lambda: ClaimedExecution.objects.exists())
        for _ in range(3):
            server.get("slow", seconds=0)
        assert finished([job])[0].return_value == second
        third = the_runtime(other_than=[first, second])
        assert finished(server.enqueue(WHICH))[0].return_value == third

    assert server.output.count("WORKER TIMEOUT") == 1
    assert not FailedExecution.objects.exists()


@pytest.mark.parametrize("kind", ["gthread", "asgi", "uvicorn_worker.UvicornWorker"])
def test_a_worker_that_has_served_its_requests_loses_no_job(tmp_path, kind):
    options = {"workers": [{"threads": 2}], "shutdown_timeout": 10}
    with gunicorn(tmp_path / "log", "--max-requests=2", kind=kind, **options) as server:
        first = the_runtime()
        ids = server.enqueue(SLEEP, 0.2, count=40)
        wait_until(lambda: _done(ids).count() >= 4)

        server.get("slow", seconds=0)
        second = the_runtime(other_than=[first])

        assert {job.return_value for job in finished(ids)} == {first, second}
        assert server.stop(signal.SIGTERM) == 0

    assert_nothing_is_lost(40)


def test_the_hooks_and_the_wrapper_give_one_runtime(tmp_path):
    application = "tests.site.asgi:application"
    with gunicorn(tmp_path / "log", kind="asgi", application=application) as server:
        pid = the_runtime()
        (job,) = finished(server.enqueue(WHICH))
        assert job.return_value == pid

        assert server.stop(signal.SIGTERM) == 0

    assert_nothing_is_lost(1)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            ["--config=tests/site/gunicorn_conf.py"],
            {"workers": [{"threads": "3x"}]},
            "['workers'][0]['threads'] must be a whole number of at least 1, not '3x'",
        ),
        (
            ["--config=tests/site/gunicorn_conf_alias.py"],
            {},
            "TASKS['other'] does not exist",
        ),
        (["--worker-class=gevent"], {}, "manage.py dj_queue"),
    ],
    ids=["wrong setting", "unknown backend", "gevent"],
)
def test_a_worker_without_a_runtime_says_why_and_serves(tmp_path, arguments, options, message):
    with gunicorn(tmp_path / "log", *arguments, **options) as server:
        assert server.get("slow", seconds=0)["pid"] in {child.pid for child in children(server)}
        assert server.output.count(message) == 1

        assert server.stop(signal.SIGTERM) == 0

    assert not Process.objects.exists()


def test_the_set_up_in_contrib_runs_jobs(tmp_path):
    folder = ROOT / "contrib" / "gunicorn"
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read(folder / "mysite.service")
    configuration = runpy.run_path(str(folder / "gunicorn.conf.py"))

    with gunicorn(
        tmp_path / "log", kind=None, application=WSGI, configuration=folder / "gunicorn.conf.py"
    ) as server:
        wait_until(lambda: len(runtimes()) == configuration["workers"], seconds=20)
        finished(server.enqueue(WHICH, count=5))

        assert server.stop(signal.SIGTERM) == 0

    assert_nothing_is_lost(5)
    assert "--config gunicorn.conf.py " in unit["Service"]["ExecStart"]
    assert unit["Service"].getint("TimeoutStopSec") > configuration["graceful_timeout"]
