"""Each program in `examples/` runs from anywhere, and prints what its last comment says."""

import os
import re
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"
PROGRAMS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
AT_ONCE = 2

_OUTPUT = re.compile(r"^# Output:\n((?:#.*\n)+)\Z", re.MULTILINE)


def run(program: Path) -> subprocess.CompletedProcess[str]:
    ours = ("DJANGO_", "DJ_QUEUE_", "EXAMPLE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        # Connections of the threads in which Django's async methods work are closed when the program ends.
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", program],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="module")
def runs():
    """All of them, two at a time: they mostly wait."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {program: pool.submit(run, program) for program in PROGRAMS}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_the_program_prints_what_it_says(program, runs):
    found = _OUTPUT.search(program.read_text())
    assert found, "the program's last lines are not a comment with its output"
    expected = [line.removeprefix("#").removeprefix(" ") for line in found[1].splitlines()]

    future: Future[subprocess.CompletedProcess[str]] = runs[program]
    ended = future.result()

    assert ended.stdout.splitlines() == expected, ended.stderr
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_index_lists_each_program_with_what_it_shows():
    index = (FOLDER / "README.md").read_text()

    for program in PROGRAMS:
        about = program.read_text().split('"""')[1]
        assert f"| [{program.name}]({program.name}) | {about} |" in index
