"""The house stays as it was drawn: layers, migrations, doors that open before Django does."""

import ast
import importlib.util
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dj_queue"
MODULES = sorted(PACKAGE.rglob("*.py"))
OWN_MODULES = [path for path in MODULES if "migrations" not in path.parts]
DOORS = [path for path in (PACKAGE / "contrib").rglob("*.py") if path.name != "__init__.py"]

MOST_LINES = 400


def name_of(path: Path) -> str:
    """The dotted name of a module of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in a new interpreter that has no settings."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("DJANGO_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_layer_imports_only_what_stands_below_it():
    if importlib.util.find_spec("importlinter") is None:
        pytest.skip("import-linter is not installed")

    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_the_migrations_are_those_of_the_models():
    call_command("makemigrations", check_changes=True, dry_run=True, verbosity=0)


@pytest.mark.parametrize("door", DOORS, ids=name_of)
def test_a_door_for_servers_opens_without_settings_and_imports_nothing_of_the_library(door):
    code = (
        f"import sys, {name_of(door)}\n"
        "print(*(m for m in sys.modules if m.split('.')[0] in ('dj_queue', 'django')))"
    )

    done = python(code)

    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert not [
        name
        for name in loaded
        if name.startswith("dj_queue.") and not name.startswith("dj_queue.contrib")
    ]
    assert "django.conf" not in loaded
    assert "django.db" not in loaded


def test_the_package_itself_is_empty():
    assert (PACKAGE / "__init__.py").read_text() == ""


def test_the_modules_without_tables_are_imported_before_the_apps_are_loaded():
    """A project's settings and its models may import these."""
    names = ("exceptions", "selectors", "payload", "events", "config", "states", "ids", "routers")
    imports = ", ".join(f"dj_queue.{name}" for name in names)
    code = f"import sys, {imports}; print('dj_queue.models' in sys.modules)"

    done = python(code, DJANGO_SETTINGS_MODULE="tests.settings")

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"


def test_a_process_that_runs_jobs_imports_nothing_that_only_others_need():
    code = (
        "import django, sys; django.setup(); import dj_queue.management.commands.dj_queue\n"
        "print(*sorted({'yaml', 'prometheus_client', 'dj_queue.views'} & sys.modules.keys()))"
    )

    done = python(code, DJANGO_SETTINGS_MODULE="tests.settings")

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_starting_django_starts_no_thread_and_opens_no_connection():
    code = (
        "import django, threading; django.setup(); from django.db import connections\n"
        "print(threading.active_count(), [c.connection for c in connections.all()])"
    )

    done = python(code, DJANGO_SETTINGS_MODULE="tests.settings")

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "1"
    assert set(done.stdout.split("[")[1].strip("]\n").split(", ")) == {"None"}


def test_the_package_says_that_it_is_typed_and_strictly():
    assert (PACKAGE / "py.typed").is_file()
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["strict"] is True


@pytest.mark.parametrize("path", OWN_MODULES, ids=name_of)
def test_no_module_is_longer_than_a_reader_can_hold(path):
    lines = len(path.read_text().splitlines())

    assert lines <= MOST_LINES


@pytest.mark.parametrize("path", [path for path in OWN_MODULES if path.stat().st_size], ids=name_of)
def test_every_module_and_all_that_is_public_in_it_says_what_it_is_for(path):
    tree = ast.parse(path.read_text())

    assert ast.get_docstring(tree)
    undocumented = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        # Of overloads only the last one, which does the work, has a description.
        and "overload" not in map(ast.unparse, node.decorator_list)
    ]
    assert undocumented == []


@pytest.mark.parametrize("path", OWN_MODULES, ids=name_of)
def test_opentelemetry_is_named_only_where_telemetry_is(path):
    place = path.relative_to(PACKAGE)
    # What stands in a project's LOGGING is imported before there are apps, and adds the current trace.
    if "telemetry" in place.parts or place.name == "log.py":
        return

    imported = [
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]

    assert not [name for name in imported if name.split(".")[0] == "opentelemetry"]
