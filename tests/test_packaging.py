"""What is in the wheel, and that it works where nothing else of this repository is."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dj_queue"


def run(*command: object, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what the wheel is made of, so that building leaves nothing behind here."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(PACKAGE, copy / "dj_queue", ignore=shutil.ignore_patterns("__pycache__"))
    # What must not get in, though it lies beside.
    for folder in ("tests", "benchmarks", "examples", "docs"):
        (copy / folder).mkdir()
        (copy / folder / "__init__.py").touch()
    return copy


@pytest.fixture(scope="module")
def pip(tmp_path_factory) -> Path:
    """A Python that has pip."""
    if importlib.util.find_spec("pip"):
        return Path(sys.executable)
    folder = tmp_path_factory.mktemp("pip")
    made = run(sys.executable, "-m", "venv", folder)
    assert made.returncode == 0, made.stderr
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


@pytest.fixture(scope="module")
def wheel(source, pip, tmp_path_factory) -> Path:
    """The wheel, built by the backend that pyproject.toml names."""
    target = tmp_path_factory.mktemp("dist")
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv:
        built = run(uv, "build", "--wheel", "--out-dir", target, source)
    else:
        built = run(pip, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", target, source)
    said = built.stdout + built.stderr
    if built.returncode and "uv_build" in said and "No matching distribution" in said:
        message = "the build backend is not installed, and there is no index to get it from"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    assert built.returncode == 0, said
    (path,) = target.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    """Every file in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel, names) -> Message:
    (name,) = [name for name in names if name.endswith(".dist-info/METADATA")]
    with zipfile.ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def installed(wheel, pip, tmp_path_factory) -> Path:
    """A folder with the wheel installed in it, and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    done = run(pip, "-m", "pip", "install", "--no-deps", "--no-index", "--target", target, wheel)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_every_file_of_the_package_is_in_the_wheel(names, source):
    expected = {
        str(path.relative_to(source)) for path in (source / "dj_queue").rglob("*") if path.is_file()
    }

    assert {name for name in names if name.startswith("dj_queue/") and name[-1] != "/"} == expected


@pytest.mark.parametrize(
    "name",
    [
        "dj_queue/py.typed",
        "dj_queue/migrations/0001_initial.py",
        "dj_queue/management/commands/dj_queue.py",
        "dj_queue/contrib/asgi.py",
        "dj_queue/store/mysql.py",
        "dj_queue/locale/de/LC_MESSAGES/django.mo",
        "dj_queue/locale/es/LC_MESSAGES/django.mo",
    ],
)
def test_what_a_project_needs_is_in_the_wheel(names, name):
    assert name in names


def test_nothing_else_is_in_the_wheel(names):
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"dj_queue"}


def test_the_wheel_is_for_every_platform(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.name.startswith("dj_queue-")


def test_the_metadata_says_what_is_required(metadata):
    required = metadata.get_all("Requires-Dist")

    assert metadata["Name"] == "dj-queue"
    assert metadata["Requires-Python"] == ">=3.12"
    assert metadata["License-Expression"] == "MIT"
    assert any(each.lower().startswith("django>=6.0") for each in required)
    assert {"postgres", "mysql", "asgi"} <= set(metadata.get_all("Provides-Extra"))


def test_the_license_travels_with_it(names):
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


_PROJECT = """
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["dj_queue"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    TASKS={"default": {"BACKEND": "dj_queue.backend.DjQueueBackend"}},
)
django.setup()

from django.core.management import call_command, get_commands
from django.tasks import task
import dj_queue, dj_queue.models

call_command("migrate", verbosity=0)
assert get_commands()["dj_queue"] == "dj_queue"

@task
def work(): ...

result = work.enqueue()
result.refresh()
print(dj_queue.__file__, result.status, dj_queue.models.Job.objects.ready().count())
"""


def test_an_installed_wheel_migrates_and_enqueues(installed, tmp_path):
    (tmp_path / "project.py").write_text(_PROJECT)
    environment = {key: value for key, value in os.environ.items() if "DJANGO" not in key}

    done = run(
        sys.executable,
        tmp_path / "project.py",
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(installed)},
    )

    assert done.returncode == 0, done.stderr
    path, status, ready = done.stdout.split()
    assert path.startswith(str(installed))
    assert (status, ready) == ("READY", "1")
