"""Runs a benchmark on SQLite and on each server that the variables of the tests name.

Each in a process of its own, because Django is set up once in a process, and in a database beside the one
that the variable names, which is dropped at the end.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECTS = Path(__file__).parent / "projects"
_SERVERS = {
    "PostgreSQL": "DJ_QUEUE_TEST_POSTGRES_URL",
    "MariaDB": "DJ_QUEUE_TEST_MARIADB_URL",
    "MySQL": "DJ_QUEUE_TEST_MYSQL_URL",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which databases; `--url` is how the process for one of them is told."""
    parser.add_argument("--only", metavar="NAMES", help="such as sqlite,postgresql")
    parser.add_argument("--url", help=argparse.SUPPRESS)


def run_on_each(module: str, options: argparse.Namespace, title: str) -> None:
    """Run *module* again, with the same arguments, for each database that *options* want."""
    name = module.rpartition(".")[2]
    with tempfile.TemporaryDirectory(prefix="dj-queue-bench-") as folder:
        urls = {"SQLite": f"sqlite:///{folder}/queue.sqlite3"}
        urls |= {
            server: f"{os.environ[variable]}_{name}"
            for server, variable in _SERVERS.items()
            if variable in os.environ
        }
        for database, url in urls.items():
            if options.only and database.lower() not in options.only.lower().split(","):
                continue
            print(f"{database}: {title}", flush=True)
            command = [sys.executable, "-m", module, *sys.argv[1:], "--url", url]
            subprocess.run(command, check=True)


@contextmanager
def site(url: str) -> Iterator[str]:
    """The site `retention_site` on a new database; its URL with the name of that."""
    os.environ["DJ_QUEUE_BENCH_DATABASE_URL"] = url
    os.environ["DJANGO_SETTINGS_MODULE"] = "retention_site.settings"
    sys.path.insert(0, str(PROJECTS))
    import django

    django.setup()
    from django.db import connection
    from django.test.utils import setup_databases, teardown_databases

    databases = setup_databases(verbosity=0, interactive=False)
    try:
        # The tests' database is called otherwise than the one that the URL names.
        name = str(connection.settings_dict["NAME"])
        yield url if url.startswith("sqlite") else f"{url.rpartition('/')[0]}/{name}"
    finally:
        teardown_databases(databases, verbosity=0)
