"""What processes of the tests import is compiled once, whatever the environment of the tests says."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

START = "import subprocess, sys, tests; subprocess.run([sys.executable, '-c', {!r}], check=True)"
IMPORT = "import fresh; print(fresh.__cached__)"


def test_what_a_process_that_a_test_starts_imports_is_kept_compiled(tmp_path):
    (tmp_path / "fresh.py").touch()

    ended = subprocess.run(
        [sys.executable, "-c", START.format(IMPORT)],
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        check=True,
    )

    assert Path(ended.stdout.strip()).exists()
    assert not list(tmp_path.glob("**/*.pyc"))
