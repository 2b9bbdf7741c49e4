"""How many rows planners expect of statements that are not run: several with one question.

Each statement is the same SELECT of one column from one table, with a condition of its own, so that the
planner is asked for all of them together.
"""

import json
from collections.abc import Sequence
from typing import Any

type Statement = tuple[str, Sequence[Any]]
"""What is asked, and its parameters."""

# As for a cursor, because plans of cursors are never parallel: where workers share a part of a plan, the rows
# that it tells are those of one worker.
_POSTGRES = "EXPLAIN (FORMAT JSON) DECLARE estimated NO SCROLL CURSOR FOR "
_MYSQL = "EXPLAIN FORMAT=TRADITIONAL "


def postgres_rows(cursor: Any, statements: Sequence[Statement]) -> list[int]:
    """What PostgreSQL expects of each of *statements*."""
    _ask(cursor, _POSTGRES, statements)
    found = cursor.fetchone()[0]
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    parts = [plan] if len(statements) == 1 else plan["Plans"]
    return [int(part["Plan Rows"]) for part in parts]


def mysql_rows(cursor: Any, statements: Sequence[Statement]) -> list[int]:
    """What MySQL or MariaDB expects of each of *statements*."""
    _ask(cursor, _MYSQL, statements)
    place = [column[0] for column in cursor.description].index("rows")
    # A line for each of them, and on some servers one for their union. For no rows there may be no number.
    return [int(row[place] or 0) for row in cursor.fetchall()[: len(statements)]]


def _ask(cursor: Any, explain: str, statements: Sequence[Statement]) -> None:
    texts, values = zip(*statements, strict=True)
    cursor.execute(explain + " UNION ALL ".join(texts), [each for some in values for each in some])
