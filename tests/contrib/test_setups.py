"""The folders in contrib/ work as they are: started with the command line of their systemd unit."""

import configparser
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.contrib.losing import BUSY, WHICH, finished, serving_processes, stop_in_the_middle
from tests.contrib.servers import ROOT, free_port, serving
from tests.waiting import wait_until

SETUPS = ROOT / "contrib"

# Where the units say that the project is.
HOME = "/srv/mysite"


def service(folder: Path) -> dict[str, str]:
    """The [Service] section of the folder's unit."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(folder / "mysite.service")
    return dict(unit["Service"])


def install(folder: Path, home: Path) -> None:
    """Put a set-up where its README says, in a project at *home*."""
    (home / "mysite").mkdir()
    (home / "mysite" / "settings.py").write_text("from tests.settings import *\n")
    (home / ".venv").mkdir()
    (home / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    for path in folder.iterdir():
        if path.suffix == ".py":
            shutil.copy(path, home / "mysite")
        elif path.suffix == ".ini":
            shutil.copy(path, home)


@pytest.mark.parametrize("name", ["asgi", "wsgi"])
def test_a_setup_serves_runs_jobs_and_stops_without_loss(tmp_path, name, monkeypatch):
    install(SETUPS / name, tmp_path)
    unit = service(SETUPS / name)
    port = free_port()
    monkeypatch.setenv("PORT", str(port))
    command = unit["ExecStart"].replace("${PORT}", str(port)).replace(HOME, str(tmp_path))
    assert unit["WorkingDirectory"] == HOME

    with serving(
        shlex.split(command),
        tmp_path / "log",
        port=port,
        folder=tmp_path,
        names_settings=False,
        **BUSY,
    ) as server:
        wait_until(serving_processes)
        (job,) = finished(server.enqueue(WHICH))
        assert job.return_value in serving_processes()

        # With KillMode=mixed, systemd tells the main process.
        assert unit["KillMode"] == "mixed"
        stop_in_the_middle(server, server.stop)


@pytest.mark.parametrize("name", ["asgi", "wsgi"])
def test_the_readme_shows_the_command_of_the_unit(name):
    command = service(SETUPS / name)["ExecStart"].removeprefix(HOME + "/")

    readme = (SETUPS / name / "README.md").read_text()

    assert f"PORT=8000 {command.replace('${PORT}', '$PORT')}" in readme


@pytest.mark.parametrize("name", ["asgi", "wsgi"])
def test_every_file_that_a_readme_links_is_there(name):
    folder = SETUPS / name
    links = re.findall(r"\]\(([^)#:]+)\)", (folder / "README.md").read_text())

    missing = [link for link in links if not (folder / link).exists()]

    assert links
    assert missing == []


def test_no_folder_of_a_setup_is_a_package():
    """One named `gunicorn` would hide the real one from a server started inside contrib/."""
    assert [str(path) for path in SETUPS.rglob("__init__.py")] == []
