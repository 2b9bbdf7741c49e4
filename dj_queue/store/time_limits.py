"""A limit on the time of each statement that Django's connection to a database runs, for questions of people.

Each database has its own way, and only PostgreSQL's is a setting: in the transaction, so that a pooler which
gives the session to somebody else gives no setting with it. MySQL and MariaDB are told in the statement
itself, SQLite is stopped from within this process.
"""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

# "The time of the statement is over" in the words of PostgreSQL, of MySQL and of MariaDB.
_QUERY_CANCELED = "57014"
_OVER_TIME = frozenset((3024, 1969))

# How many instructions SQLite does between two looks at the clock: far less than a millisecond's.
_INSTRUCTIONS = 10_000

type _Execute = Callable[..., Any]


def limited_time(database: str, seconds: float) -> AbstractContextManager[None]:
    """Here no statement on Django's connection to *database* that reads takes longer than *seconds*.

    One that would raises an `OperationalError`, of which `is_over_time` is true. On PostgreSQL the whole is
    a transaction, unless there is one already.
    """
    connection = connections[database]
    if connection.vendor == "postgresql":
        return _in_transaction(connection, seconds)
    if connection.vendor == "sqlite":
        return _interrupted(connection, seconds)
    return _said_in_statements(connection, seconds)


def is_over_time(error: BaseException | None) -> bool:
    """Whether *error*, or what it comes from, says that a statement had no more time."""
    while error is not None:
        if getattr(error, "sqlstate", None) == _QUERY_CANCELED:
            return True
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            return True
        if isinstance(error, OperationalError) and error.args and error.args[0] in _OVER_TIME:
            return True
        error = error.__cause__
    return False


# The limit of who set a shorter one stays. `set_config` tells nothing that we want, so the old value is read.
_SET = """
    SELECT setting, set_config(
        'statement_timeout', CASE WHEN setting::int BETWEEN 1 AND %s THEN setting ELSE %s END, true
    ) FROM pg_settings WHERE name = 'statement_timeout'
"""


@contextmanager
def _in_transaction(connection: BaseDatabaseWrapper, seconds: float) -> Iterator[None]:
    milliseconds = round(seconds * 1000)
    is_inside = connection.in_atomic_block
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(_SET, [milliseconds, str(milliseconds)])
        before = cursor.fetchone()[0]
        yield
        if is_inside:
            # The caller's transaction goes on. After an error its savepoint has brought the old value back.
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])


@contextmanager
def _said_in_statements(connection: BaseDatabaseWrapper, seconds: float) -> Iterator[None]:
    # MariaDB has a prefix for anything, MySQL a hint that stands behind the outermost SELECT.
    is_mariadb: bool = connection.mysql_is_mariadb  # type: ignore[attr-defined]
    prefix = f"SET STATEMENT max_statement_time={seconds:g} FOR " if is_mariadb else ""
    hint = "" if is_mariadb else f" /*+ MAX_EXECUTION_TIME({round(seconds * 1000)}) */"

    def limit(execute: _Execute, sql: str, params: Any, many: bool, context: Any) -> Any:
        if (place := _end_of_select(sql)) is not None:
            sql = f"{prefix}{sql[:place]}{hint}{sql[place:]}"
        return execute(sql, params, many, context)

    with connection.execute_wrapper(limit):
        yield


_SELECT = re.compile(r"[\s(]*SELECT\b", re.IGNORECASE)
_WITH = re.compile(r"\s*WITH\b", re.IGNORECASE)
# What has parentheses and words in it that are none: text, names and comments.
_PART = re.compile(
    r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`[^`]*`|/\*.*?\*/"""
    r"""|(?P<word>[()]|\b(?:SELECT|INSERT|UPDATE|DELETE|REPLACE)\b)""",
    re.IGNORECASE | re.DOTALL,
)


def _end_of_select(sql: str) -> int | None:
    """Where the first SELECT ends that is the statement's own, and not of a WITH; None if it writes."""
    if begins := _SELECT.match(sql):
        return begins.end()
    if not _WITH.match(sql):
        return None
    depth = 0
    for part in _PART.finditer(sql):
        word = part["word"]
        if word is None:
            continue
        if word in "()":
            depth += 1 if word == "(" else -1
        elif depth == 0:
            return part.end() if word.upper() == "SELECT" else None
    return None


@contextmanager
def _interrupted(connection: BaseDatabaseWrapper, seconds: float) -> Iterator[None]:
    until = time.monotonic() + seconds

    def renew(execute: _Execute, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal until
        until = time.monotonic() + seconds
        return execute(sql, params, many, context)

    connection.ensure_connection()
    opened: sqlite3.Connection = connection.connection
    # SQLite asks while it searches for a row, also for the later ones, which are fetched after `execute`.
    opened.set_progress_handler(lambda: time.monotonic() > until, _INSTRUCTIONS)
    try:
        with connection.execute_wrapper(renew):
            yield
    finally:
        opened.set_progress_handler(None, 0)
