"""Nodes of a deployment that are killed, replaced and reloaded while jobs run on them."""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from dj_queue.models import Process
from tests.contrib.servers import Server, free_port, started
from tests.waiting import wait_until


def gunicorn(log: Path, *arguments: str, **options: Any) -> Any:
    """Gunicorn with threads, as a project sets it up; a context manager."""
    port = free_port()
    script = str(Path(sys.executable).with_name("gunicorn"))
    command = [script, "--config", "tests/site/gunicorn_conf.py", "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class=gthread", "--threads=2", "--no-control-socket", *arguments]
    command += ["tests.site.gunicorn_site:wsgi"]
    return started(command, log, port=port, ready="Booting worker", **options)


def wait_until_ready(count: int, *, other_than: set[int] = frozenset()) -> set[int]:  # type: ignore[assignment]
    """Wait until so many processes run jobs, without *other_than* these; their pids."""
    return wait_until(
        lambda: pids if len(pids := working() - other_than) == count else None,
        seconds=30,
        what=f"{count} processes that run jobs",
    )


def working() -> set[int]:
    """The pids of the processes that are registered as running jobs."""
    return set(Process.objects.filter(kind="Worker").values_list("pid", flat=True))


def kill_all(server: Server) -> None:
    """Kill a server and all its children at once, as a machine does that loses its power."""
    parent = psutil.Process(server.process.pid)
    victims = [parent, *parent.children(recursive=True)]
    # Stopped first: no parent is to see its children die.
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for victim in victims:
            with suppress(ProcessLookupError):
                os.kill(victim.pid, number)
    server.process.wait(10)
    psutil.wait_procs(victims, timeout=10)
