"""The statements that add to the statistics, put together once for each dialect.

One row for each key that is in the table, or will be: what is new is inserted, what is there grows. Whoever
adds gives its rows in the order of their keys, so that two processes lock them in the same order.
"""

from collections.abc import Mapping, Sequence
from typing import LiteralString, NamedTuple

# One more than `dj_queue.models.statistics.BOUNDS`. Not imported: a child process imports the store before
# Django is set up, and models cannot be imported then.
_BUCKETS = range(13)

NUMBERS = (
    "finished", "failed", "retried", "duration_sum", "wait_sum",
    *(f"duration_{number}" for number in _BUCKETS), *(f"wait_{number}" for number in _BUCKETS),
)  # fmt: skip
"""The columns that grow, in the order of `StatisticRow.numbers`."""

_KEY = ("backend_alias", "minute", "queue_name", "task_path")
_COLUMNS = ", ".join((*_KEY, *NUMBERS))


class StatisticRow(NamedTuple):
    """What to add to one row of the statistics."""

    minute: int
    queue_name: str
    task_path: str
    numbers: tuple[float, ...]
    """One for each of `NUMBERS`."""

    def parameters(self, backend_alias: str) -> tuple[str | float, ...]:
        """A row for `VALUES`."""
        return (backend_alias, self.minute, self.queue_name, self.task_path, *self.numbers)

    def as_mapping(self) -> dict[str, str | float]:
        """The columns by their names, but for the backend."""
        key: dict[str, str | float] = {
            "minute": self.minute,
            "queue_name": self.queue_name,
            "task_path": self.task_path,
        }
        return {**key, **dict(zip(NUMBERS, self.numbers, strict=True))}


def _grown(form: str) -> str:
    return ", ".join(form.format(name=name) for name in NUMBERS)


_ON_CONFLICT = f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET "

# The rows come as one document, so that the text is the same for any number of them.
_POSTGRES: LiteralString = f"""
    INSERT INTO dj_queue_statistics AS kept ({_COLUMNS})
    SELECT %s, given.* FROM jsonb_to_recordset(%s::jsonb) AS given (
        minute bigint, queue_name text, task_path text,
        {", ".join(f"{name} {'float8' if name.endswith('_sum') else 'bigint'}" for name in NUMBERS)}
    )
    {_ON_CONFLICT} {_grown("{name} = kept.{name} + excluded.{name}")}
    RETURNING id
"""

_MYSQL_INSERT = f"INSERT INTO dj_queue_statistics ({_COLUMNS}) VALUES "
# MariaDB knows no other name for the new row than VALUES().
_MYSQL_ADD = f" ON DUPLICATE KEY UPDATE {_grown('{name} = {name} + VALUES({name})')}"

_SQLITE = f"""
    INSERT INTO dj_queue_statistics ({_COLUMNS})
    VALUES ({", ".join("?" * (len(_KEY) + len(NUMBERS)))})
    {_ON_CONFLICT} {_grown("{name} = {name} + excluded.{name}")}
"""


class OccurrenceRow(NamedTuple):
    """What to add to one row of the occurrences."""

    kind: str
    queue_name: str
    task_path: str
    about: str
    times: int

    def parameters(self, backend_alias: str) -> tuple[str | int, ...]:
        """A row for `VALUES`."""
        return (backend_alias, *self)

    def as_mapping(self) -> dict[str, str | int]:
        """The columns by their names, but for the backend."""
        return self._asdict()


_OCCURRENCES = """
    INSERT INTO dj_queue_occurrences {alias}
        (backend_alias, kind, queue_name, task_path, about, times)
"""
_THERE = "ON CONFLICT (backend_alias, kind, queue_name, task_path, about) DO UPDATE SET"

_POSTGRES_OCCURRENCES: LiteralString = f"""
    {_OCCURRENCES.format(alias="AS kept")}
    SELECT %s, given.* FROM jsonb_to_recordset(%s::jsonb) AS given (
        kind text, queue_name text, task_path text, about text, times bigint
    )
    {_THERE} times = kept.times + excluded.times
    RETURNING id
"""

_MYSQL_INSERT_OCCURRENCES = _OCCURRENCES.format(alias="") + " VALUES "
_MYSQL_ADD_OCCURRENCES = " ON DUPLICATE KEY UPDATE times = times + VALUES(times)"

_SQLITE_OCCURRENCES = f"""
    {_OCCURRENCES.format(alias="")} VALUES (?, ?, ?, ?, ?, ?)
    {_THERE} times = times + excluded.times
"""

type CountedRows = Sequence[StatisticRow] | Sequence[OccurrenceRow]
"""Rows of one kind, which says what statement adds them."""

POSTGRES: Mapping[type, LiteralString] = {
    StatisticRow: _POSTGRES,
    OccurrenceRow: _POSTGRES_OCCURRENCES,
}
MYSQL = {
    StatisticRow: (_MYSQL_INSERT, _MYSQL_ADD),
    OccurrenceRow: (_MYSQL_INSERT_OCCURRENCES, _MYSQL_ADD_OCCURRENCES),
}
"""What stands before and behind the rows."""
SQLITE = {StatisticRow: _SQLITE, OccurrenceRow: _SQLITE_OCCURRENCES}
