"""Whether another process of this machine is still there, and not merely stopped; told without a database.

`/proc` tells on Linux. Elsewhere only the death of a process can be told, and a process that took over the
number of a dead one is taken for it. On Windows, and about other machines or containers, nothing is told.
"""

import os
from enum import Enum
from functools import cache
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")


class Liveness(Enum):
    """What can be said of a process."""

    ALIVE = "alive"
    STOPPED = "stopped"
    """It is there but does nothing: a signal or a debugger stopped it."""
    DEAD = "dead"
    UNKNOWN = "unknown"
    """It lives, if it does, where we cannot look."""


class Identity(NamedTuple):
    """What tells a process from all others, here and now."""

    pid: int
    hostname: str
    incarnation: str
    """The boot of the machine, the namespace of the number and the start of the process; "" off Linux."""


def identity(pid: int, hostname: str) -> Identity:
    """The identity of the running process *pid* of this machine."""
    status = _status(pid)
    if status is None:
        return Identity(pid, hostname, "")
    return Identity(pid, hostname, f"{_world()}:{status.started_at}")


def liveness(of: Identity, *, hostname: str) -> Liveness:
    """What is known of process *of* by who is on *hostname*."""
    world, _, started_at = of.incarnation.rpartition(":")
    if os.name != "posix" or of.hostname != hostname or world != _world():
        return Liveness.UNKNOWN
    if not world:
        return Liveness.ALIVE if _exists(of.pid) else Liveness.DEAD
    status = _status(of.pid)
    if status is None:
        # /proc may hide the processes of other users.
        return Liveness.UNKNOWN if _exists(of.pid) else Liveness.DEAD
    if status.started_at != started_at or status.state in "ZX":
        return Liveness.DEAD
    return Liveness.STOPPED if status.state in "Tt" else Liveness.ALIVE


class _Status(NamedTuple):
    state: str
    started_at: str


def _status(pid: int) -> _Status | None:
    """What /proc says of a process; None where there is no such process or no /proc."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name of the program comes before, in parentheses, and may hold anything.
    fields = text.rpartition(")")[2].split()
    return _Status(fields[0], fields[19])


@cache
def _world() -> str:
    """Within which process numbers mean something: one boot of one machine, one container; "" off Linux."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (_PROC / "self/ns/pid").readlink().name
    except OSError:
        return ""
    return f"{boot}:{namespace.strip('pid:[]')}"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
