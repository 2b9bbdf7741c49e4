"""Which jobs of this process have begun, in a file that outlives its death.

A claim in the database says that a job belongs to a process, not whether it had begun when the process
was killed: to write that down for each job before it starts would cost every job a commit. So a process
notes it in a file that is mapped into its memory. A note costs about a microsecond, and what is in the
page cache outlives a `kill -9`; with the machine itself gone, every claim counts as begun.

The file also says whether its process lives, without a pid that somebody else may have by now or that
another container means differently: the process holds a lock on it (`fcntl`, which a forked child does
not inherit) as long as it lives. Whoever gets that lock knows that the process is dead, and is the only
one to recover it.

Child processes that run jobs note by themselves what they begin (`Share`), in places that their parent
keeps for them. Each holds a part of the lock, so nobody recovers the process while one could still begin.

A module that ends whoever imports it would end one process after the other. So an import for the sake of
a job is noted too, as the job's token with every bit turned, and nobody imports it for that job again.
"""

import errno
import hashlib
import json
import os
import re
import struct
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Self
from uuid import UUID

from django.db import connections

from dj_queue.store.records import Claim

try:
    import fcntl
except ImportError:  # pragma: no cover - a system without POSIX locks has no journals
    fcntl = None  # type: ignore[assignment]

_SUFFIX = ".journal"

# A line of JSON, filled up with blanks; then a byte that says whether the notes are complete; then the
# notes: the token first, because a note without its id is none.
_HEADER_BYTES = 1024
_COMPLETE, _INCOMPLETE = b"\0", b"\1"
_NOTE = struct.Struct("=q16s")
_NO_ID = bytes(16)
_EMPTY = bytes(_NOTE.size)

# Who wants to recover a process locks the whole file: the byte of the process, and the one of its children.
_OWN_BYTE, _CHILDREN_BYTE = 0, 1

# Older than this, a file without an owner is nobody's.
_HALF_MADE_SECONDS = 60.0

# The journals of this process: opening and closing one of them would give up its lock.
_ours: set[Path] = set()


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose journal it is."""

    database: str
    """Which database the process works on, the same for every process that works on it."""
    backend_alias: str
    process_name: str
    """The name under which the supervisor is registered."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What a process has noted."""

    begun: frozenset[Claim] | None
    """What had begun and is perhaps not written; None when that is not known."""
    importing: frozenset[Claim] = frozenset()
    """For which jobs a module is being imported. They may be another process's that is recovered."""


UNKNOWN = Notes(None)
"""Of a process without a journal."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """The journal of a process that is dead."""

    owner: Owner
    path: Path
    notes: Notes

    def remove(self) -> None:
        """Delete it: the process has been recovered."""
        self.path.unlink(missing_ok=True)


class Journal:
    """The notes of one process. `noting` is called by any thread, `settle` by those that write outcomes."""

    def __init__(self, path: Path, descriptor: int, capacity: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._pid = os.getpid()
        self._file = mmap(descriptor, _HEADER_BYTES + capacity * _NOTE.size)
        self._free = deque(range(_HEADER_BYTES, len(self._file), _NOTE.size))
        self._places: dict[Claim, int] = {}

    @classmethod
    def open(cls, directory: Path, owner: Owner, *, capacity: int) -> Self:
        """Make the journal of *owner* in *directory* with room for *capacity* jobs, and lock it.

        Raises `OSError` when that cannot be done here.
        """
        if fcntl is None:
            raise OSError("this system has no POSIX locks")
        path = directory / (re.sub(r"[^A-Za-z0-9@.:_-]", "_", owner.process_name) + _SUFFIX)
        content = _header(owner) + bytes(capacity * _NOTE.size)
        # Before it is there: another backend of this process that looks at it would take its lock away.
        _ours.add(path)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except BaseException:
            _ours.discard(path)
            raise
        try:
            # Waits, but not for long: somebody may be looking whether it is anybody's.
            fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, _OWN_BYTE)
            _write_all(descriptor, content)
            return cls(path, descriptor, capacity)
        except BaseException:
            # While it is locked: nobody must take it for one that was left half made.
            path.unlink(missing_ok=True)
            _forget(path, descriptor)
            raise

    def begin(self, claim: Claim) -> None:
        """Note that the job of *claim* begins now."""
        self.noting(claim)()

    def noting(self, claim: Claim) -> Callable[[], None]:
        """What notes that the job of *claim* begins when it is called; all else is done before."""
        place = self.reserve(claim)
        return _nothing if place is None else _noting(self._file, place, claim)

    def reserve(self, claim: Claim) -> int | None:
        """Keep a place for a note about *claim* until that is settled."""
        if self._file.closed:
            return None  # The process has been settled, or is being so.
        try:
            place = self._free.popleft()
        except IndexError:
            # More jobs than can be: then whoever reads this takes every claim for begun.
            self._file[_HEADER_BYTES - 1 : _HEADER_BYTES] = _INCOMPLETE
            return None
        self._places[claim] = place
        return place

    @contextmanager
    def importing(self, claims: Iterable[Claim]) -> Iterator[None]:
        """Note for the block that something is imported for *claims*, whatever has been noted of them."""
        new = []
        with ExitStack() as notes:
            for claim in claims:
                place = self._places.get(claim)
                if place is None:
                    place = self.reserve(claim)
                    new.append(claim)
                if place is not None:
                    notes.enter_context(_importing(self._file, place, claim))
            yield
        self.settle(new)

    def settle(self, claims: Iterable[Claim]) -> None:
        """Strike out jobs whose outcome is written."""
        for claim in claims:
            place = self._places.pop(claim, None)
            if place is not None and not self._file.closed:
                self._file[place : place + _NOTE.size] = _EMPTY
                self._free.append(place)

    def touch(self) -> bool:
        """Show that the file is in use: what cleans up folders for temporary files goes by its age.

        False when it has been removed all the same, and nobody will find it.
        """
        if self._file.closed:
            return True
        # A file system that became read-only is no reason to give no sign of life.
        with suppress(OSError):
            os.utime(self._descriptor)
        return os.fstat(self._descriptor).st_nlink > 0

    @property
    def notes(self) -> Notes:
        """What is noted now."""
        return _read(self._file)[1]

    def close(self, *, remove: bool) -> None:
        """Give up the lock; with *remove* nothing is left to recover."""
        if self._pid != os.getpid():
            return  # A forked child's copy; the file is its parent's.
        if remove:
            self.path.unlink(missing_ok=True)
        self._file.close()
        _forget(self.path, self._descriptor)


class Share:
    """A child process's part in the journal of its parent, for as long as the child lives."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError` when it cannot be had."""
        if fcntl is None:
            raise OSError("this system has no POSIX locks")
        # Before it is opened: who reads and closes it in this process would give up the lock.
        _ours.add(path)
        # Never closed: it ends with the process.
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        fcntl.lockf(descriptor, fcntl.LOCK_SH, 1, _CHILDREN_BYTE)
        self._file = mmap(descriptor, 0)

    def noting(self, claim: Claim, place: int) -> Callable[[], None]:
        """See `Journal.noting`, with a *place* that the parent has reserved."""
        return _noting(self._file, place, claim)

    def importing(self, claim: Claim, place: int) -> AbstractContextManager[None]:
        """See `Journal.importing`, with a *place* that the parent has reserved."""
        return _importing(self._file, place, claim)


def database_identity(alias: str) -> str:
    """The same for all processes of this machine that work on the database *alias*."""
    connection = connections[alias]
    settings = connection.settings_dict
    # The schema of PostgreSQL, a service file: with the same server and name it can be another database.
    options = [
        (key, value)
        for key, value in sorted(settings["OPTIONS"].items())
        if isinstance(value, str | int)
    ]
    # Hashed, for there may be a password among them.
    chosen = hashlib.sha256(repr((settings["USER"], options)).encode()).hexdigest()[:16]
    name = settings["NAME"]
    if connection.vendor == "sqlite":
        name = str(Path(name).resolve())
    return "|".join(
        str(part) for part in (settings["ENGINE"], settings["HOST"], settings["PORT"], name, chosen)
    )


def journal_directory(configured: str | None) -> Path:
    """Where journals are kept: *configured*, or a folder below the system's for temporary files.

    The folder belongs to this user alone; raises `OSError` when it does not.
    """
    if configured is not None:
        directory = Path(configured).resolve()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return directory
    user = os.getuid() if hasattr(os, "getuid") else 0
    directory = Path(tempfile.gettempdir()).resolve() / f"dj_queue-{user}"
    directory.mkdir(mode=0o700, exist_ok=True)
    # Anybody could have made it, with names in it that lead elsewhere.
    status = directory.lstat()
    if status.st_uid != user or status.st_mode & 0o022 or directory.is_symlink():
        raise OSError(f"{directory} belongs to somebody else, or others may write to it")
    return directory


def paths(directory: Path) -> list[Path]:
    """The journals of other processes in *directory*."""
    with suppress(OSError):
        found = [entry.path for entry in os.scandir(directory) if entry.name.endswith(_SUFFIX)]
        return sorted(path for path in map(Path, found) if path not in _ours)
    return []


@contextmanager
def orphaned(path: Path) -> Iterator[Orphan | None]:
    """The journal at *path* if its process is dead, locked for the time of the block; else None."""
    descriptor = _opened(path)
    if descriptor is None or fcntl is None:
        yield None
        return
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None  # Its process lives, or somebody else is recovering it.
            return
        status = os.fstat(descriptor)
        owner, notes = _read(os.pread(descriptor, status.st_size, 0))
        if owner is None and time.time() - status.st_mtime > _HALF_MADE_SECONDS:
            # Its process died while it made the file, and so before it could claim anything.
            path.unlink(missing_ok=True)
        # Two may have opened it before the first of them removed it.
        yield Orphan(owner, path, notes) if owner is not None and path.exists() else None
    finally:
        os.close(descriptor)


def notes_of(directory: Path, process_name: str) -> Notes:
    """What the process called *process_name*, alive or dead, has noted."""
    for path in paths(directory):
        with suppress(OSError):
            owner, notes = _read(path.read_bytes())
            if owner is not None and owner.process_name == process_name:
                return notes
    return UNKNOWN


def _noting(file: mmap, place: int, claim: Claim) -> Callable[[], None]:
    token, job_id, write = claim.token, claim.id.bytes, _NOTE.pack_into

    def note() -> None:
        with suppress(ValueError):  # Closed in this very moment.
            write(file, place, token, job_id)

    return note


@contextmanager
def _importing(file: mmap, place: int, claim: Claim) -> Iterator[None]:
    before = _EMPTY
    with suppress(ValueError):
        before = file[place : place + _NOTE.size]
    _noting(file, place, Claim(claim.id, ~claim.token))()
    try:
        yield
    finally:
        with suppress(ValueError):
            file[place : place + _NOTE.size] = before


def _nothing() -> None:
    return


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None


def _header(owner: Owner) -> bytes:
    line = json.dumps([owner.database, owner.backend_alias, owner.process_name]).encode()
    if len(line) >= _HEADER_BYTES:
        raise OSError("the name of the database or the process is too long for a journal")
    return line.ljust(_HEADER_BYTES - 1) + _COMPLETE


def _read(content: bytes | mmap) -> tuple[Owner | None, Notes]:
    header = bytes(content[:_HEADER_BYTES])
    try:
        owner = Owner(*json.loads(header[:-1]))
    except (ValueError, TypeError):
        # Its process died while it made the file, before it could claim anything.
        return None, UNKNOWN
    notes = bytes(content[_HEADER_BYTES:])
    notes = notes[: len(notes) // _NOTE.size * _NOTE.size]
    begun, importing = set(), set()
    for token, job_id in _NOTE.iter_unpack(notes):
        if job_id != _NO_ID and token < 0:
            importing.add(Claim(UUID(bytes=job_id), ~token))
        elif job_id != _NO_ID:
            begun.add(Claim(UUID(bytes=job_id), token))
    is_complete = header[-1:] == _COMPLETE
    return owner, Notes(frozenset(begun) if is_complete else None, frozenset(importing))


def _write_all(descriptor: int, content: bytes) -> None:
    # No hole is left: one that finds the disk full when it is first written to ends the process (SIGBUS).
    if os.pwrite(descriptor, content, 0) < len(content):
        raise OSError(errno.ENOSPC, "there is no room for a journal")


def _forget(path: Path, descriptor: int) -> None:
    os.close(descriptor)
    _ours.discard(path)


def _disown_after_fork() -> None:
    # Of a forked child none is its own; it may recover its parent's when that is dead.
    _ours.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_after_fork)
