"""The database connections that tasks use: kept open from job to job, and handed over clean.

Django closes connections at the end of requests, and a worker thread has none. Closing after each job
instead would cost a new connection per job with Django's default `CONN_MAX_AGE = 0`. So a connection
stays, is checked when it is first used in a job, and is closed when anything about it is in doubt. Only
where psycopg's pool keeps connections open, each goes back to it after the job.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connections, reset_queries
from django.db.backends.base.base import BaseDatabaseWrapper

from dj_queue.store.connection_state import (
    end_hidden_transaction,
    has_open_transaction,
    is_closed,
)


def prepare_for_job() -> None:
    """Before a job: close what is too old, and have the rest checked at its first use."""
    # Receivers of the last job's signals may have left something behind after the job was judged.
    clean_after_job()
    for connection in connections.all(initialized_only=True):
        if connection.connection is None:
            continue
        if _is_too_old(connection):
            discard(connection)
        else:
            connection.health_check_enabled = True  # type: ignore[attr-defined]
            connection.health_check_done = False  # type: ignore[attr-defined]


def clean_after_job() -> list[str]:
    """After a job: give back clean connections; the databases on which a transaction was left open.

    Such a transaction is rolled back, by closing its connection: nothing else ends every kind.
    """
    leaked = []
    for connection in connections.all(initialized_only=True):
        if connection.connection is None:
            continue
        try:
            if has_open_transaction(connection):
                leaked.append(connection.alias)
                discard(connection)
            elif is_closed(connection) or connection.settings_dict["OPTIONS"].get("pool"):
                # One that came from a pool goes back to it: there may be more threads than it has.
                discard(connection)
            elif connection.errors_occurred:
                _close_if_broken(connection)
            else:
                end_hidden_transaction(connection)
        except Exception:  # noqa: BLE001 - a connection that cannot even be asked is of no use
            discard(connection)
    if settings.DEBUG:
        reset_queries()
    return leaked


def close_all() -> None:
    """Close the calling thread's connections, whatever their state; for a thread that ends."""
    for connection in connections.all(initialized_only=True):
        discard(connection)


@contextmanager
def kept_open(alias: str) -> Iterator[None]:
    """Django's connection of this thread to *alias*, for an actor that uses it again and again.

    In autocommit, whatever `DATABASES` says: what an actor writes in a transaction that nobody commits is
    never written. Closed after an error, because nobody else tidies up in that thread.
    """
    connection = connections[alias]
    try:
        if not connection.get_autocommit():
            connection.set_autocommit(True)
        yield
    except BaseException:
        discard(connection)
        raise


def discard(connection: BaseDatabaseWrapper) -> None:
    """Close *connection* even in the middle of a transaction; it reopens at its next use."""
    # Inside an atomic block close() would keep the dead connection, for the block's exit to see.
    connection.in_atomic_block = False
    connection.closed_in_transaction = False
    try:
        connection.close()
    except Exception:  # noqa: BLE001 - drivers raise their own errors for what is closed already
        connection.connection = None


def _is_too_old(connection: BaseDatabaseWrapper) -> bool:
    # CONN_MAX_AGE = 0 means "until the end of the request", and there is none.
    max_age = connection.settings_dict["CONN_MAX_AGE"]
    return (
        bool(max_age)
        and connection.close_at is not None
        and time.monotonic() >= connection.close_at
    )


def _close_if_broken(connection: BaseDatabaseWrapper) -> None:
    if connection.is_usable():
        connection.errors_occurred = False
    else:
        discard(connection)
