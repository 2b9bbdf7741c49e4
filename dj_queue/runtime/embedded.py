"""The one runtime of a process for each backend, however many doors ask for it.

Wrapping an application twice, or starting from a hook and from a wrapper, gives one supervisor: who
comes first starts it, who leaves last stops it. After a fork the child has none of its parent's, and
no connection either.
"""

import ctypes
import os
import sys
import threading
from dataclasses import dataclass

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from dj_queue.runtime.supervisor import Supervisor


@dataclass(slots=True)
class _Entry:
    supervisor: Supervisor
    holders: int = 0


# Guards _entries.
_lock = threading.Lock()
_entries: dict[str, _Entry] = {}

# What a forked child inherited: kept, so that nothing closes the parent's connections by being collected.
_inherited: list[object] = []
# Nor at the end of the child's interpreter, which empties modules: MySQL's driver would then send a goodbye
# through the socket that the parent uses.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_inherited))

# Where Django keeps pools of connections, by alias, in an attribute of the class.
_MODULES_WITH_POOLS = ("django.db.backends.postgresql.base", "django.db.backends.oracle.base")


def acquire(backend_alias: str = "default") -> Supervisor:
    """Start the runtime of *backend_alias* in this process if it does not run; returns at once.

    Raises `ConfigurationError` when it cannot be started. Each call wants a `release`.
    """
    with _lock:
        entry = _entries.get(backend_alias)
        if entry is None:
            entry = _Entry(
                Supervisor.from_backend_config(backend_alias=backend_alias, is_embedded=True)
            )
            _entries[backend_alias] = entry
        entry.holders += 1
    try:
        entry.supervisor.start()
    except BaseException:
        # No thread could be started, for instance; who asks again gets a new one.
        release(backend_alias, 0.0)
        raise
    return entry.supervisor


def release(backend_alias: str = "default", timeout: float | None = None) -> bool:
    """Give up one hold; the last one stops the runtime within *timeout* seconds.

    Whether it ended in time; True also when others still hold it. Blocks while it stops.
    """
    with _lock:
        entry = _entries.get(backend_alias)
        if entry is None:
            return True
        entry.holders -= 1
        if entry.holders > 0:
            return True
        del _entries[backend_alias]
    return entry.supervisor.stop(timeout)


def running(backend_alias: str = "default") -> Supervisor | None:
    """The runtime of *backend_alias* in this process, if there is one."""
    entry = _entries.get(backend_alias)
    return None if entry is None else entry.supervisor


def discard_inherited_connections() -> None:
    """In a forked child: forget the connections that its parent opened, without closing them.

    Two processes that read from one socket get each other's answers, and closing here would end the
    parent's session. The child opens its own at its next query.
    """
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None and not _lives_in_memory(connection):
            _inherited.append(connection.connection)
            connection.connection = None
    for name in _MODULES_WITH_POOLS:
        if name in sys.modules:
            pools = sys.modules[name].DatabaseWrapper._connection_pools  # noqa: SLF001
            _inherited.extend(pools.values())
            pools.clear()


def _lives_in_memory(connection: BaseDatabaseWrapper) -> bool:
    # The child has a copy of its own, and would find an empty database without it.
    return connection.vendor == "sqlite" and bool(connection.is_in_memory_db())  # type: ignore[attr-defined]


def _forget_after_fork() -> None:
    global _lock, _entries
    _inherited.append(_entries)
    _lock, _entries = threading.Lock(), {}
    discard_inherited_connections()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
