"""A real PgBouncer in transaction mode before the server of the tests (Debian package `pgbouncer`)."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection

from tests.contrib.servers import free_port
from tests.waiting import PATIENCE, wait_until

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")

# Two server connections, so that a client's transactions do hop between them.
_SETTINGS = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {servers}
query_wait_timeout = 10
"""

_NOBODY = 65534


@contextmanager
def pgbouncer(*, servers: int = 2) -> Iterator[int]:
    """PgBouncer in transaction mode, with so many connections to the server; its port."""
    assert PROGRAM is not None
    settings, port = connection.settings_dict, free_port()
    folder = Path(tempfile.mkdtemp(prefix="dj_queue_pooler_"))
    # It gives up the rights of root, and then has to read this.
    folder.chmod(0o755)
    (folder / "users").write_text(f'"{settings["USER"] or "postgres"}" ""\n')
    (folder / "pgbouncer.ini").write_text(
        _SETTINGS.format(
            host=settings["HOST"] or "127.0.0.1",
            port=settings["PORT"] or 5432,
            own_port=port,
            folder=folder,
            servers=servers,
        )
    )
    command = [PROGRAM, str(folder / "pgbouncer.ini")]
    if os.getuid() == 0:
        # It refuses to run as root; and a server that listens on a socket does so in a folder of its own.
        host = settings["HOST"]
        user = os.stat(host).st_uid if host.startswith("/") else _NOBODY
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(
            lambda: _answers(port) or process.poll() is not None, what=f"port {port} answers"
        )
        assert process.poll() is None, (folder / "log").read_text()
        yield port
    finally:
        process.kill()
        process.wait(10 * PATIENCE)
        shutil.rmtree(folder)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
