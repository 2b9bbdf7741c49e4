"""Whether this process and its backends are well, for whoever asks every few seconds.

`live`: this process does its part, the database aside: restart it when not. `ready`: jobs of every backend
are being run, here or elsewhere. The answer of `ready` is kept for two seconds, so that it costs the same
whoever asks and however often.
"""

import os
import threading
import time
from datetime import timedelta

from django.db import Error

from dj_queue.config import BackendConfig, backend_config, configured_backend_aliases
from dj_queue.reads import health
from dj_queue.runtime import embedded
from dj_queue.store import store_for

KEPT_SECONDS = 2.0


def live() -> list[str]:
    """What is wrong with the runtimes in this process; nothing where there are none. Asks no database."""
    problems = []
    for alias in configured_backend_aliases():
        supervisor = embedded.running(alias)
        if supervisor is not None and (lost := supervisor.lost_actors):
            problems.append(f"threads of backend {alias!r} have ended: {', '.join(lost)}")
    return problems


def ready() -> list[str]:
    """What keeps jobs of any backend from being run, as known for up to `KEPT_SECONDS`."""
    return _kept.problems()


def _ask() -> list[str]:
    problems: list[str] = []
    for alias in configured_backend_aliases():
        try:
            problems += _problems(backend_config(alias))
        except Error as error:
            problems.append(f"the database of backend {alias!r} does not answer: {error}")
    return problems


def _problems(config: BackendConfig) -> list[str]:
    database = config.options.database_alias
    max_age = timedelta(seconds=config.options.process_alive_threshold)
    now = store_for(database).now()
    return list(health.problems(database, config.alias, now=now, max_age=max_age))


class _Kept:
    """The last answer. One caller at a time asks for a new one."""

    def __init__(self) -> None:
        self._problems: list[str] = []
        self._until = 0.0
        # Guards both, and is held while somebody asks: the others wait for that answer.
        self._lock = threading.Lock()

    def problems(self) -> list[str]:
        """The answer, not older than `KEPT_SECONDS`."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._problems = _ask()
                self._until = time.monotonic() + KEPT_SECONDS
            return self._problems

    def forget(self) -> None:
        """Ask again next time; with a lock of our own, for in a forked child another may seem to hold it."""
        self._lock = threading.Lock()
        self._until = 0.0


_kept = _Kept()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_kept.forget)
