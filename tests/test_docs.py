"""The documentation is true: it builds, what it shows runs, and what the code has is in it."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from django.core.management import load_command_class

from dj_queue import exceptions
from dj_queue.config import options
from dj_queue.runtime.supervisor import Supervisor
from dj_queue.states import JobState
from tests.walkthrough import follow, steps_of

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "examples" / "README.md"])
EXECUTED = [
    "arguments",
    "explain",
    "hooks",
    "limits",
    "logging",
    "operations",
    "queues",
    "tasks",
    "workflows",
]
WALKS = [page for page in PAGES if any(step.action == "run" for step in steps_of(page))]

_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CHECK_ID = re.compile(r"dj_queue\.([EW]\d{3})")
_COMMAND = re.compile(r"manage\.py (dj_queue\w*)([^`\n|#]*)")
_FLAG = re.compile(r"(?<!\S)--[a-z-]+")
_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)\s#]+)(?:#[^)\s]*)?\)")

# Each page is a module of its own in one project; `Picture` is what they take for granted.
_EXECUTE = """
import json, sys, types

from project import setup

setup()

from django.contrib.auth.models import Group

for name, text in json.load(sys.stdin).items():
    page = sys.modules[f"page_{name}"] = types.ModuleType(f"page_{name}")
    page.Picture = Group
    exec(compile(text, f"docs/{name}.md", "exec"), vars(page))
"""


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_documentation_is_built_without_a_warning(tmp_path):
    built = subprocess.run(
        [
            sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet",
            "-b", "html", "-d", tmp_path / "doctrees", DOCS, tmp_path / "html",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": ""},
    )  # fmt: skip

    assert built.returncode == 0, built.stdout
    settings = (tmp_path / "html" / "settings.html").read_text()
    for kind in described_kinds():
        for name, _, _ in options.described_options(kind):
            assert f">{name}<" in settings, (
                f"{kind.__name__}.{name} is not in the settings reference"
            )


def described_kinds() -> list[type]:
    """The dataclasses whose fields are options."""
    return [
        kind
        for kind in vars(options).values()
        if is_dataclass(kind)
        and isinstance(kind, type)
        and any("about" in each.metadata for each in fields(kind))
    ]


@pytest.mark.parametrize("page", WALKS, ids=named)
def test_whoever_follows_the_page_gets_there(page, tmp_path):
    follow(page, tmp_path)


def test_what_pages_show_can_be_executed(tmp_path):
    shown = {name: _PYTHON.findall((DOCS / f"{name}.md").read_text()) for name in EXECUTED}
    program = tmp_path / "execute.py"
    program.write_text(_EXECUTE)

    ended = subprocess.run(
        [sys.executable, program],
        input=json.dumps({name: "\n\n".join(texts) for name, texts in shown.items()}),
        env={**os.environ, "PYTHONPATH": str(ROOT / "examples")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_on_the_page_is_python_and_imports_what_there_is(page):
    for text in _PYTHON.findall(page.read_text()):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dj_queue"):
                for alias in node.names:
                    assert_importable(str(node.module), alias.name)


def assert_importable(module: str, name: str) -> None:
    if not hasattr(importlib.import_module(module), name):
        importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files_that_there_are(page):
    for target in _LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{named(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_and_their_flags_are_there(page):
    for name, rest in _COMMAND.findall(page.read_text()):
        parser = load_command_class("dj_queue", name).create_parser("manage.py", name)
        known = {flag for action in parser._actions for flag in action.option_strings}

        assert set(_FLAG.findall(rest)) <= known, f"manage.py {name} {rest}"


def test_each_system_check_is_described_and_no_other():
    code = "".join(path.read_text() for path in (ROOT / "dj_queue").rglob("*.py"))
    described = re.findall(
        r"^## dj_queue\.([EW]\d{3})", (DOCS / "checks.md").read_text(), re.MULTILINE
    )

    assert sorted(set(_CHECK_ID.findall(code))) == sorted(described)


def test_the_figure_of_states_has_every_state():
    figure = (DOCS / "_static" / "states.svg").read_text()

    for state in JobState:
        assert f">{state}<" in figure


def test_each_error_is_explained_to_whoever_meets_it():
    page = (DOCS / "troubleshooting.md").read_text()
    errors = [
        name
        for name, found in vars(exceptions).items()
        if isinstance(found, type) and issubclass(found, exceptions.DjQueueError)
    ]

    for name in errors:
        assert re.search(rf"^\|.*`{name}`.*\|", page, re.MULTILINE), name


def test_the_number_of_connections_is_the_one_that_there_are():
    connections = Supervisor.from_backend_config(tasks_settings={}).connections

    assert f"which is {connections} with the defaults" in (DOCS / "operations.md").read_text()
