"""Real servers as processes of the tests: started, asked over HTTP, told to stop by signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.db import connection

from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[2]


class Server:
    """A process that was started, with what it prints."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    @property
    def output(self) -> str:
        """All that the process has printed so far."""
        return self._log.read_text(errors="replace")

    def get(self, path: str, *, timeout: float = 20, **parameters: Any) -> Any:
        """The JSON answer to a GET; within *timeout* seconds on a machine that is not busy."""
        query = urllib.parse.urlencode(
            {
                name: json.dumps(value) if isinstance(value, dict) else value
                for name, value in parameters.items()
            }
        )
        url = f"http://127.0.0.1:{self.port}/{path}?{query}"
        with urllib.request.urlopen(url, timeout=timeout * PATIENCE) as answer:
            return json.load(answer)

    def enqueue(self, task: str = "tests.site.tasks.noop", *args: Any, count: int = 1) -> list[str]:
        """Enqueue in the server; the ids."""
        answer = self.get("enqueue", call={"task": task, "args": list(args)}, count=count)
        return answer["ids"]

    @contextmanager
    def open_request(self, folder: Path) -> Iterator[None]:
        """A request that has begun before the block, and ends after it; its answer does not matter."""
        begun, over = folder / "request-begun", folder / "request-over"

        def ask() -> None:
            with suppress(OSError):  # The server may go away first.
                self.get("slow", timeout=90, seconds=60, begun=begun, until=over)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        try:
            wait_until(begun.exists, what="the request has begun")
            yield
        finally:
            over.touch()
            thread.join(20 * PATIENCE)

    def stop(self, number: int = signal.SIGTERM, *, seconds: float = 20) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.process.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds: float = 20) -> int:
        """The exit status, when the process has ended by itself."""
        return self.process.wait(seconds * PATIENCE)


def environment(**options: Any) -> dict[str, str]:
    """The environment in which a process works on this test run's database, with these OPTIONS."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DJ_QUEUE_TEST_DATABASE_NAME": str(connection.settings_dict["NAME"]),
        "DJ_QUEUE_TEST_OPTIONS": json.dumps(options),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def started(
    arguments: Sequence[str],
    log: Path,
    *,
    port: int = 0,
    ready: str,
    folder: Path = ROOT,
    prefix: Sequence[str] = (),
    names_settings: bool = True,
    **options: Any,
) -> Iterator[Server]:
    """Run `PREFIX python ARGUMENTS` in *folder* until the block ends; begins when *ready* was printed.

    With *names_settings* the environment names the settings of the tests; else a file of *folder* has to.
    """
    variables = environment(**options)
    if not names_settings:
        del variables["DJANGO_SETTINGS_MODULE"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*prefix, sys.executable, *arguments],
            env=variables,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own, so that the children of a server can be ended with it.
            start_new_session=True,
        )
    server = Server(process, port, log)
    try:
        wait_until(
            lambda: ready in server.output or process.poll() is not None,
            seconds=30,
            what=f"{ready!r} in {log}",
        )
        # Whether it still runs is another question: a process that is soon used up may have ended well.
        assert ready in server.output, server.output
        yield server
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            server.wait(10)


@contextmanager
def serving(
    arguments: Sequence[str], log: Path, *, port: int, ready: str = "", **options: Any
) -> Iterator[Server]:
    """`started`, for a server; begins when *port* answers, too."""
    with started(arguments, log, port=port, ready=ready, **options) as server:
        wait_until(
            lambda: _answers(port) or server.process.poll() is not None,
            seconds=30,
            what=f"port {port} answers",
        )
        assert server.process.poll() is None, server.output
        yield server


@contextmanager
def uvicorn(
    log: Path, *arguments: str, application: str = "tests.site.asgi:application", **options: Any
) -> Iterator[Server]:
    """uvicorn on a free port, serving *application*."""
    port = free_port()
    command = ["-m", "uvicorn", application, "--port", str(port), "--log-level", "info", *arguments]
    with started(
        command, log, port=port, ready="Application startup complete", **options
    ) as server:
        # Lifespan is done before the socket listens.
        wait_until(lambda: _answers(port), what=f"port {port} answers")
        yield server


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
