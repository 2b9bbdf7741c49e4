"""A file with the process id, locked for as long as the process lives.

The lock is what counts and not the number in the file: the kernel takes it back however the process ends,
so a file that a killed process left behind stops nobody.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dj_queue.exceptions import ConfigurationError, NotStarted

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock
    fcntl = None  # type: ignore[assignment]

_MOST_BYTES = 64

# The files that this process holds, by their descriptors.
_held: dict[int, str] = {}


@contextmanager
def held(path: str | None) -> Iterator[str | None]:
    """Hold the pidfile at *path*, if there is one, while the block runs; yields its absolute path.

    Raises `NotStarted` that names the file and the process when another one holds it,
    `ConfigurationError` when the file cannot be made or holds something else than a process id.
    """
    if path is None:
        yield None
        return
    # Absolute: a job may change the working directory.
    absolute = os.path.abspath(path)
    descriptor = _locked(absolute)
    _held[descriptor] = absolute
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        yield absolute
    finally:
        remove(absolute)
        # Not in a forked child, which has given it up.
        if _held.pop(descriptor, None) is not None:
            os.close(descriptor)


def remove(path: str) -> None:
    """Remove the file while it is locked: whoever opens it afterwards makes a file of his own.

    If somebody cleaned the folder meanwhile, what is there now is another process's, and stays.
    """
    for descriptor, held_path in tuple(_held.items()):
        with suppress(OSError):
            if held_path == path and _is_at(path, descriptor):
                os.unlink(path)


def _locked(path: str) -> int:
    if fcntl is None:  # pragma: no cover
        raise ConfigurationError(
            "'supervisor_pidfile' needs flock, which this platform does not have"
        )
    while True:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                _refuse_other_content(descriptor, path)
                return descriptor
        except BlockingIOError:
            holder = os.pread(descriptor, _MOST_BYTES, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise NotStarted(
                f"process {holder or '(it has not written its id yet)'} holds the pidfile {path}; "
                "stop it first, or give this one another OPTIONS['supervisor_pidfile']"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        # Its holder removed the file between our open and our lock: what we locked has no name any more.
        os.close(descriptor)


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigurationError(
            f"the pidfile {path} of OPTIONS['supervisor_pidfile'] cannot be opened: {error.strerror}"
        ) from error


def _is_at(path: str, descriptor: int) -> bool:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def _give_up_after_fork() -> None:
    # flock belongs to all who inherited the descriptor: a child that a task left would keep it.
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_give_up_after_fork)


def _refuse_other_content(descriptor: int, path: str) -> None:
    """A path that was mistyped must not cost a file its content."""
    is_plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
    content = os.pread(descriptor, _MOST_BYTES, 0).strip() if is_plain else b"?"
    if content and not content.isdigit():
        raise ConfigurationError(
            f"the pidfile {path} of OPTIONS['supervisor_pidfile'] holds something that is no process id; "
            "it was not touched"
        )
