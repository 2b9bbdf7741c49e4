"""How many processes of one machine run jobs inside a web server, when not all of them should.

There are as many slots as `OPTIONS["embedded_processes"]` says. A slot is a locked file next to the
journals; the kernel gives it back when its process dies, whatever way, and a process that stands by has it
within about a second. A process without a slot enqueues and may lead, but claims nothing.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - a system without POSIX locks has no slots
    fcntl = None  # type: ignore[assignment]

# The slots of this process: opening and closing one of them would give up its lock.
_ours: set[Path] = set()


class Slots:
    """The slots of one backend and database on this machine, of which this process wants one."""

    def __init__(self, directory: Path, identity: str, count: int) -> None:
        """*identity* is the same for all processes that share the slots."""
        self._pid = os.getpid()
        self._descriptor: int | None = None
        name = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self._paths = [directory / f"{name}-{number}.slot" for number in range(count)]

    @property
    def is_taken(self) -> bool:
        """Whether this process has a slot."""
        return self._descriptor is not None and self._pid == os.getpid()

    def try_take(self) -> bool:
        """Take a slot if one is free; whether this process has one. Costs a few system calls."""
        if self.is_taken or fcntl is None:
            return True
        return any(path not in _ours and self._take(path) for path in self._paths)

    def give_back(self) -> None:
        """Let another process have the slot."""
        if self._descriptor is not None and self._pid == os.getpid():
            os.close(self._descriptor)
            _ours.difference_update(self._paths)
            self._descriptor = None

    def _take(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        with suppress(OSError):
            # Only for people who look at the file.
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        _ours.add(path)
        return True


def _disown_after_fork() -> None:
    # The locks are the parent's; a fork does not inherit them.
    _ours.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_after_fork)
