"""The file cannot be written for a while: what jobs did meanwhile is kept, and written when it can be."""

import resource
import sqlite3
import subprocess
import time
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from django.db import connection

from dj_queue.models import Job, Process
from tests.contrib.standalone import command
from tests.faults.elsewhere import is_root, working_at
from tests.waiting import wait_until

OPTIONS = {"workers": [{"threads": 3, "async_concurrency": 5}]}
LOCKED_SECONDS = 3
"""Longer than a process waits for the lock, with all its repetitions (0.3 s, five times)."""


@contextmanager
def database_in(folder):
    """The test and its processes work on a database in *folder*."""
    path = folder / "queue.sqlite3"
    with working_at(f"sqlite:///{path}"):
        yield path


@contextmanager
def locked(path, node):
    """Another process writes for a long time."""
    del node
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        until = time.monotonic() + LOCKED_SECONDS
        yield
        wait_until(lambda: time.monotonic() >= until)
        other.execute("ROLLBACK")


@contextmanager
def no_space(path, node):
    """The disk is full, and the write-ahead log has to grow."""
    del node
    empty_log()
    filler = path.with_name("filler")
    with filler.open("wb", buffering=0) as file:
        block = b"\0" * 4096
        try:
            while True:
                file.write(block)
        except OSError:
            pass
    yield
    filler.unlink()


@contextmanager
def no_growth(path, node):
    """The process may not write beyond the present end of the write-ahead log."""
    empty_log()
    with connection.cursor() as cursor:
        # The limit is for every file, and what the process prints has to be below it.
        cursor.execute("CREATE TABLE filler AS SELECT zeroblob(1000000) AS filler")
    process = psutil.Process(node.process.pid)
    before = process.rlimit(resource.RLIMIT_FSIZE)
    size = path.with_name(f"{path.name}-wal").stat().st_size
    process.rlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    yield
    process.rlimit(resource.RLIMIT_FSIZE, before)


def empty_log():
    """Move what is in the write-ahead log into the file: else there may be room in its middle."""

    def is_empty():
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return cursor.fetchone()[0] == 0

    wait_until(is_empty, what="all of the log is in the file")


@contextmanager
def small_disk(folder):
    """A disk of sixteen megabytes."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def any_disk(folder):
    """The one that is there."""
    yield folder


def can_mount():
    """Whether this process may mount a file system of its own: some containers do not let root."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return is_root() and subprocess.run(probe, capture_output=True, check=False).returncode == 0


CASES = [
    pytest.param(any_disk, locked, "database is locked", id="locked"),
    pytest.param(any_disk, no_growth, "disk I/O error", id="file limit"),
    # A disk can be filled only by who may make a small one.
    *([pytest.param(small_disk, no_space, "is full", id="full disk")] if can_mount() else []),
]


@pytest.mark.parametrize(("disk", "trouble", "message"), CASES)
def test_outcomes_are_kept_until_they_can_be_written(tmp_path, ledger, disk, trouble, message):
    folder = Path(tmp_path / "disk")
    folder.mkdir()
    settings = ("--settings", "tests.site.settings_impatient")
    with disk(folder), database_in(folder) as path:
        ledger.enqueue(150, need_database=False)
        with command(tmp_path / "log", *settings, **OPTIONS) as node:
            long = set(ledger.enqueue(3, 0.5))
            ledger.enqueue(60, need_database=False)
            wait_until(lambda: ledger.running() >= long, what="the long ones run")

            with trouble(path, node):
                wait_until(lambda: message in node.output, what=f"{message!r} was told")
                wait_until(lambda: long <= set(ledger.ended()), what="the long ones have ended")
                written = _finished()
                assert not long & written
            wait_until(lambda: _finished() >= long, seconds=10, what="they are recorded")

            ledger.wait_until_done()
            assert node.process.poll() is None
            assert node.stop() == 0

        books = ledger.close()
        print(f"{len(ledger.began())} jobs, failed {len(books.failed)}, {books.wrong}")
        assert books.wrong == {}
        assert books.failed == set()
        assert not Process.objects.exists()


def _finished():
    jobs = Job.objects.finished().values_list("payload", flat=True)
    return {payload["args"][1] for payload in jobs}
