"""Jobs inside Apache with mod_wsgi, which tells little of its end and kills soon after it."""

import importlib.util
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from dj_queue.models import ClaimedExecution, FailedExecution, Process
from tests.contrib.losing import BUSY, WHICH, finished, serving_processes, stop_in_the_middle
from tests.contrib.servers import free_port, serving
from tests.contrib.standalone import begin_long_job
from tests.waiting import wait_until

NEEDED = (
    "mod_wsgi is not installed; it is compiled by `make test` where Apache's headers are "
    "(Debian: apache2-bin and apache2-dev) and Python is a shared library"
)

# Apache serves as no root; where the tests are root's, it may still read what only root can.
AS_NOBODY = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
)


@pytest.fixture(autouse=True)
def installed():
    if importlib.util.find_spec("mod_wsgi") is None:
        pytest.fail(NEEDED) if os.environ.get("CI") else pytest.skip(NEEDED)


@contextmanager
def mod_wsgi(folder, *arguments, **options):
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("mod_wsgi-express")),
        *("start-server", "--application-type", "module", "tests.site.wsgi"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--server-root", str(folder / "apache"), "--log-to-terminal"),
        *arguments,
    ]
    (folder / "apache").mkdir()
    prefix = AS_NOBODY if os.getuid() == 0 else ()
    with serving(command, folder / "log", port=port, prefix=prefix, **options) as server:
        yield server


def children(server):
    return {child.pid for child in psutil.Process(server.process.pid).children()}


def test_jobs_run_in_each_process_from_its_start_and_end_with_it_without_loss(tmp_path):
    with mod_wsgi(tmp_path, "--processes", "2", **BUSY) as server:
        # Before anybody has asked for anything.
        pids = wait_until(lambda: len(serving_processes()) == 2 and serving_processes(), seconds=30)
        answer = server.get("enqueue", call={"task": WHICH})
        (job,) = finished(answer["ids"])

        assert pids < children(server)
        assert job.return_value in pids
        assert answer["pid"] in pids

        stop_in_the_middle(server, server.stop)
        assert server.process.returncode == 0


def test_a_process_that_has_served_its_requests_is_followed_by_another(tmp_path):
    with mod_wsgi(tmp_path, "--maximum-requests", "3", **BUSY) as server:
        (first,) = wait_until(serving_processes, seconds=30)
        ids = [job for _ in range(3) for job in server.enqueue(WHICH)]

        (second,) = wait_until(lambda: serving_processes() - {first}, seconds=30)
        wait_until(lambda: serving_processes() == {second})

        assert {job.return_value for job in finished(ids)} <= {first, second}
        assert server.stop() == 0

    assert not Process.objects.exists()


def test_a_request_that_does_not_end_does_not_keep_jobs_from_being_recorded(tmp_path):
    """mod_wsgi waits for it for longer than Apache lets it."""
    with mod_wsgi(tmp_path, **BUSY) as server:
        wait_until(serving_processes, seconds=30)
        begin_long_job(tmp_path)
        with server.open_request(tmp_path):
            # Apache first waits for those of its processes that talk to clients.
            server.stop()

    assert FailedExecution.objects.get().exception_class.endswith("ProcessExitError")
    assert not ClaimedExecution.objects.exists()
    assert not Process.objects.exists()
