"""In what state user code left a connection, as far as its driver tells without asking the server."""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


def is_closed(connection: BaseDatabaseWrapper) -> bool:
    """Whether the driver's connection under *connection* has been closed behind Django's back.

    SQLite's driver does not tell; it raises at the next use, and so at the next question.
    """
    raw: Any = connection.connection
    if connection.vendor == "postgresql":
        return bool(raw.closed)
    if connection.vendor == "mysql":
        return not raw.open
    return False


def has_open_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether Django or the driver knows of an open transaction on *connection*.

    A transaction begun with a literal `BEGIN` is found on PostgreSQL and SQLite; MySQL's driver does
    not tell, see `end_hidden_transaction`.
    """
    raw: Any = connection.connection
    if connection.in_atomic_block or not connection.autocommit:
        return True
    if connection.vendor == "postgresql":
        # ACTIVE, INTRANS or INERROR; a closed connection is UNKNOWN.
        return raw.info.transaction_status.name in ("ACTIVE", "INTRANS", "INERROR")
    return bool(getattr(raw, "in_transaction", False))


def end_hidden_transaction(connection: BaseDatabaseWrapper) -> None:
    """Roll back a transaction that MySQL's driver does not tell of, if there is one.

    A round trip for each job that has a connection to MySQL; without it, one task's literal `BEGIN` would
    swallow what all later tasks of the thread write.
    """
    raw: Any = connection.connection
    if connection.vendor == "mysql":
        raw.rollback()
