"""One virtual environment per contender, kept between runs and rebuilt when its contents change."""

import hashlib
import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

__all__ = ["ENVIRONMENTS", "PROJECT_ROOT", "installed_versions", "prepare"]

ENVIRONMENTS = Path(__file__).parent / ".envs"
PROJECT_ROOT = Path(__file__).parent.parent

_INSTALL_SECONDS = 600


def prepare(name: str, requirements: Sequence[str]) -> Path:
    """Create the environment *name* with *requirements* if need be; the path of its Python.

    Raises `subprocess.CalledProcessError` when the installation fails.
    """
    folder = ENVIRONMENTS / name
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    marker = folder / "benchmark-contents"
    contents = _fingerprint(requirements)
    if python.exists() and marker.exists() and marker.read_text() == contents:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    _install(folder, python, requirements)
    marker.write_text(contents)
    return python


def installed_versions(python: Path) -> dict[str, str]:
    """Version by name of every distribution in the environment of *python*."""
    script = (
        "import json, importlib.metadata as m;"
        "print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"
    )
    output = subprocess.run(
        [python, "-c", script], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    return dict(json.loads(output))


def _fingerprint(requirements: Sequence[str]) -> str:
    parts = [sys.version, *requirements]
    if any(_is_editable(requirement) for requirement in requirements):
        # New dependencies of the project must reach the environment; its code does so by itself.
        parts.append((PROJECT_ROOT / "pyproject.toml").read_text())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _install(folder: Path, python: Path, requirements: Sequence[str]) -> None:
    words = [
        word
        for requirement in requirements
        for word in (("--editable", requirement) if _is_editable(requirement) else (requirement,))
    ]
    # uv where there is one, because it is some ten times faster; pip does the same.
    if uv := _find_uv():
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
        _run([uv, "pip", "install", "--quiet", "--python", str(python), *words])
    else:
        venv.create(folder, with_pip=True)
        _run([str(python), "-m", "pip", "install", "--quiet", *words])


def _is_editable(requirement: str) -> bool:
    return requirement.startswith(str(PROJECT_ROOT))


def _find_uv() -> str | None:
    beside_python = str(Path(sys.base_prefix) / "bin")
    return shutil.which("uv") or shutil.which("uv", path=beside_python)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, timeout=_INSTALL_SECONDS)
