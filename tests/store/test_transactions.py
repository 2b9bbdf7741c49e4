"""A transaction is run again after a transient error, told by the driver's code, and after no other."""

import sqlite3

import pytest
from django.db import DataError, Error, IntegrityError, OperationalError

from dj_queue.store.transactions import RowsMoved, is_transient, retried


class DriverError(Exception):
    """An error as a driver raises it, with a code in `args` or as `sqlstate`."""

    def __init__(self, *args, sqlstate=None):
        super().__init__(*args)
        self.sqlstate = sqlstate


def busy(code):
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = code
    return error


def caused_by(cause, kind=OperationalError):
    error = kind(*cause.args)
    error.__cause__ = cause
    return error


TRANSIENT = {
    "MySQL deadlock": caused_by(DriverError(1213, "Deadlock found")),
    "MySQL lock wait timeout": caused_by(DriverError(1205, "Lock wait timeout exceeded")),
    "PostgreSQL deadlock": caused_by(DriverError("deadlock detected", sqlstate="40P01")),
    "PostgreSQL serialization": caused_by(DriverError("could not serialize", sqlstate="40001")),
    "SQLite busy": caused_by(busy(sqlite3.SQLITE_BUSY)),
    "SQLite busy snapshot": caused_by(busy(sqlite3.SQLITE_BUSY_SNAPSHOT)),
    "rows moved": RowsMoved("claims were taken away"),
}
LASTING = {
    "connection lost": caused_by(DriverError(2013, "Lost connection")),
    "duplicate": caused_by(DriverError(1062, "Duplicate entry"), IntegrityError),
    "text of a deadlock": caused_by(DriverError("Deadlock found when trying to get lock; 1213")),
    "unique violation": caused_by(DriverError("duplicate key", sqlstate="23505"), IntegrityError),
    "SQLite readonly": caused_by(busy(sqlite3.SQLITE_READONLY)),
    "no cause": OperationalError(1213, "Deadlock found"),
    "cause without arguments": caused_by(DriverError(), DataError),
}


@pytest.mark.parametrize("error", TRANSIENT.values(), ids=TRANSIENT)
def test_error_that_may_not_come_again_is_transient(error):
    assert is_transient(error)


@pytest.mark.parametrize("error", LASTING.values(), ids=LASTING)
def test_error_that_will_come_again_is_not_transient(error):
    assert not is_transient(error)


def test_transaction_runs_once_when_it_succeeds():
    runs = []

    assert retried(lambda: runs.append(1) or "answer") == "answer"
    assert len(runs) == 1


def test_transaction_runs_again_until_it_succeeds():
    errors = [TRANSIENT["MySQL deadlock"], TRANSIENT["PostgreSQL deadlock"]]

    def transaction():
        if errors:
            raise errors.pop()
        return "answer"

    assert retried(transaction) == "answer"


def test_last_error_is_raised_when_it_comes_every_time():
    errors = []

    def transaction():
        errors.append(caused_by(DriverError(1213, "Deadlock found")))
        raise errors[-1]

    with pytest.raises(OperationalError) as raised:
        retried(transaction)

    assert raised.value is errors[-1]
    assert len(errors) == 5


@pytest.mark.parametrize("error", [*LASTING.values(), ValueError("no database error")])
def test_transaction_is_not_run_again_after_another_error(error):
    runs = []

    def transaction():
        runs.append(1)
        raise error

    with pytest.raises((Error, ValueError)) as raised:
        retried(transaction)

    assert raised.value is error
    assert len(runs) == 1
