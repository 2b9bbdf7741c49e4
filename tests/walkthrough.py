"""Does what a page of the documentation tells its reader to do, in a folder of its own.

A comment in front of a code block says what to do with it; readers do not see it:

    <!-- run -->               run it in a shell; it must succeed
    <!-- prints -->            each of these lines was printed by the last command that was run
    <!-- serve -->             start it and leave it running until the end of the page
    <!-- write: path -->       it is the content of that file
    <!-- append: path -->      it goes to the end of that file
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

_MARKED = re.compile(r"^<!-- (\w+)(?:: (\S+))? -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SECONDS = 60


@dataclass(frozen=True)
class Step:
    """One marked code block of a page."""

    action: str
    path: str | None
    text: str


def steps_of(page: Path) -> list[Step]:
    """What *page* tells its reader to do, in order."""
    return [Step(*found) for found in _MARKED.findall(page.read_text())]


def follow(page: Path, folder: Path) -> None:
    """Do it in *folder*; raises `AssertionError` where the page is wrong."""
    printed = ""
    with ExitStack() as servers:
        for step in steps_of(page):
            match step.action:
                case "run":
                    printed = _run(step.text, folder)
                case "prints":
                    assert_printed(step.text, printed)
                case "serve":
                    servers.enter_context(_served(step.text, folder))
                case "write":
                    _file(folder, step).write_text(step.text)
                case "append":
                    with _file(folder, step).open("a") as file:
                        file.write(f"\n{step.text}")
                case unknown:
                    raise AssertionError(f"{page.name} has a block marked {unknown!r}")


def assert_printed(expected: str, printed: str) -> None:
    """Each line of *expected* is one of *printed*, in this order."""
    lines = iter(map(str.strip, printed.splitlines()))
    for line in expected.splitlines():
        assert line.strip() in lines, f"{line!r} was not printed, or not in this order:\n{printed}"


def _file(folder: Path, step: Step) -> Path:
    assert step.path, f"a block to {step.action} has no path"
    path = folder / step.path
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _run(text: str, folder: Path) -> str:
    ended = subprocess.run(
        ["sh", "-euc", text],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, f"{text}\n{ended.stdout}"
    return ended.stdout


@contextmanager
def _served(text: str, folder: Path) -> Iterator[None]:
    """The command runs; on a free port, so that tests do not get in each other's way."""
    server = subprocess.Popen(
        [*shlex.split(text), "--port", "0"],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        assert server.wait(_SECONDS) is not None


def _environment() -> dict[str, str]:
    """As in a shell in which the virtual environment is active."""
    keep = ("HOME", "LANG", "TMPDIR", "PYTHONPATH")
    return {name: os.environ[name] for name in keep if name in os.environ} | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    }
