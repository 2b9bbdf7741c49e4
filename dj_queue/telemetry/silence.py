"""Keeps the runtime's own statements out of Django's log of SQL."""

import logging

from dj_queue import current
from dj_queue.config import backend_config

_SQL = logging.getLogger("django.db.backends")


class SilentPolling(logging.Filter):
    """Drops what is logged in threads of the runtime whose backend has `silence_polling`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether *record* is to be logged."""
        del record  # It says nothing of who asked.
        alias = current.bookkeeping_of.get()
        # A job in such a thread is no bookkeeping: new threads may inherit the context of the worker's.
        if alias is None or current.running.get() is not None:
            return True
        return not backend_config(alias).options.silence_polling


def listen() -> None:
    """Silence them from now on."""
    # No NullHandler on our loggers, as libraries have one: where a project says nothing of logging, Python
    # then writes warnings and errors to standard error, and an error of the runtime is told nowhere else.
    _SQL.addFilter(SilentPolling())
