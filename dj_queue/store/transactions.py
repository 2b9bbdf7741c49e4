"""Retry of a whole transaction on a transient error.

Only for transactions that begin and end here: after a deadlock the database has taken back everything,
also what the caller wrote before, so inside the caller's transaction only the caller can start again.
"""

import time
from collections.abc import Callable

from django.db import Error, OperationalError

from dj_queue.backoff import Backoff

_ATTEMPTS = 5
_FIRST_DELAY_SECONDS = 0.01
_LONGEST_DELAY_SECONDS = 0.2

# A wait for a lock that took too long, and a deadlock of which we are the victim.
_MYSQL_CODES = frozenset((1205, 1213))
# Serialization failure, and a deadlock of which we are the victim.
_POSTGRES_CODES = frozenset(("40001", "40P01"))
# SQLITE_BUSY and SQLITE_LOCKED; extended codes have these in their lowest byte.
_SQLITE_CODES = frozenset((5, 6))


class RowsMoved(OperationalError):
    """Rows that a transaction had read were gone when it came to write them, on every attempt."""


def retried[T](transaction: Callable[[], T]) -> T:
    """What *transaction* returns; it is run again, all of it, when an error says that this may help.

    *transaction* begins and ends a transaction of its own, and is run at most five times. Between two
    runs there is a short delay that grows and is spread at random, so that the parties of a deadlock do
    not meet again. The last error is raised as it came.
    """
    delays = Backoff(first=_FIRST_DELAY_SECONDS, ceiling=_LONGEST_DELAY_SECONDS)
    while True:
        try:
            return transaction()
        except Error as error:
            if delays.failures + 1 >= _ATTEMPTS or not is_transient(error):
                raise
        time.sleep(delays.next_delay())


def is_transient(error: Error) -> bool:
    """Whether the same transaction may well succeed when it is begun anew; told by the driver's code."""
    if isinstance(error, RowsMoved):
        return True
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) in _POSTGRES_CODES:
        return True
    if (code := getattr(cause, "sqlite_errorcode", None)) is not None:
        return code & 0xFF in _SQLITE_CODES
    return cause is not None and cause.args[:1] != () and cause.args[0] in _MYSQL_CODES
