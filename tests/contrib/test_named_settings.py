"""Settings that only the project's manage.py, wsgi.py or asgi.py names, as `startproject` writes them."""

import shutil
import sys
from pathlib import Path

import psutil
import pytest
from django.core.management import call_command

from tests.contrib.losing import finished
from tests.contrib.servers import ROOT, free_port, serving, started, uvicorn
from tests.contrib.standalone import UP
from tests.site import settings_tasks

OPTIONS = {
    "workers": [{"threads": 1}, {"threads": 1, "executor": "process"}],
    "names_settings": False,
}


@pytest.fixture
def project(tmp_path):
    """A new project called mysite, with the settings of the tests in its own module."""
    folder = tmp_path / "project"
    folder.mkdir()
    call_command("startproject", "mysite", folder)
    (folder / "mysite" / "settings.py").write_text("from tests.settings import *\n")
    return folder


def use(setup, project):
    """Take a file from contrib/, as its README says."""
    place = (
        project / "mysite" if setup.suffix == ".py" and setup.stem in ("asgi", "wsgi") else project
    )
    shutil.copy(ROOT / "contrib" / setup, place)


def assert_jobs_have_them(server):
    """Those in the server itself and those in children, though its environment had named none."""
    # As it was when the process began.
    assert "DJANGO_SETTINGS_MODULE" not in psutil.Process(server.process.pid).environ()
    calls = [(settings_tasks.here, (), {}), (settings_tasks.in_a_child, (), {})]
    results = settings_tasks.here.get_backend().enqueue_all(calls)

    jobs = finished([result.id for result in results], seconds=30)

    assert [job.return_value for job in jobs] == ["mysite.settings", "mysite.settings"]


def test_gunicorn_without_preload(tmp_path, project):
    use(Path("gunicorn/gunicorn.conf.py"), project)
    port = free_port()
    script = str(Path(sys.executable).with_name("gunicorn"))
    command = [script, "--bind", f"127.0.0.1:{port}", "--workers=1", "--no-control-socket"]
    with serving(
        [*command, "mysite.wsgi"], tmp_path / "log", port=port, folder=project, **OPTIONS
    ) as server:
        assert_jobs_have_them(server)
        assert server.stop() == 0


def test_uvicorn(tmp_path, project):
    use(Path("asgi/asgi.py"), project)
    with uvicorn(
        tmp_path / "log", application="mysite.asgi:application", folder=project, **OPTIONS
    ) as server:
        assert_jobs_have_them(server)


def test_waitress_with_the_wrapper(tmp_path, project):
    use(Path("wsgi/wsgi.py"), project)
    port = free_port()
    command = ["-m", "waitress", "--listen", f"127.0.0.1:{port}", "mysite.wsgi:application"]
    with serving(command, tmp_path / "log", port=port, folder=project, **OPTIONS) as server:
        assert_jobs_have_them(server)


@pytest.mark.parametrize("mode", ["async", "fork"])
def test_the_command(tmp_path, project, mode):
    command = ["manage.py", "dj_queue", "--mode", mode]
    with started(command, tmp_path / "log", ready=UP, folder=project, **OPTIONS) as server:
        assert_jobs_have_them(server)
        assert server.stop() == 0
