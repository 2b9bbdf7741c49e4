"""Retries of failed jobs at a time that somebody chose; part of the dispatcher's work.

When the next is due, the dispatcher's look for due jobs tells.
"""

from django.db import connections

from dj_queue.config import BackendConfig
from dj_queue.operations import retry
from dj_queue.runtime.connections import discard, kept_open


def retry_due(config: BackendConfig, batch_size: int) -> None:
    """Retry up to *batch_size* failed jobs of *config*'s backend whose time has come.

    On Django's connection of this thread, because it is the same operation that people call; this is rare,
    and the connection is closed again.
    """
    database = config.options.database_alias
    with kept_open(database):
        retry.retry_due(config, batch_size=batch_size)
    discard(connections[database])
