"""What a MySQL session asks before it begins a transaction: which queues have jobs for it.

Nothing here locks, so an idle worker costs the database one small question, and what is answered may be
out of date by the time of the claim, as if the claim had come a moment earlier.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from dj_queue.selectors import QueueSelection, SelectorKind
from dj_queue.store import mysql_sql as sql

# A site may have a queue per customer and day: then names are found anew, one question each, once in a while.
_MOST_NAMES = 1000


class Look(NamedTuple):
    """What a look for work found."""

    now: datetime
    """The database's clock."""
    choices: Sequence[tuple[str, ...] | None]
    """For each selector that can be served the queues to claim from; None stands for all there are."""


class ReadyQueues:
    """The queues of one backend that have ready jobs, and the names that a session has seen so far.

    `SELECT DISTINCT` reads every row unless the optimizer decides to skip, and a recursive query that
    skips by itself is not given a range, so it reads every row for every name (MySQL 9 and MariaDB
    10.11). Constants are given a range: so the first name after each known one is asked for, which
    finds those that have jobs and those that are new, with one descent of the index each.
    """

    def __init__(self, backend_alias: str) -> None:
        self._backend_alias = backend_alias
        # In the order of the column's collation, which is not Python's.
        self._known: list[str] = []

    def look(self, cursor: Any, selection: QueueSelection, executors: Sequence[int]) -> Look:
        """Which queues of *selection* have ready jobs for *executors*, those that are not paused."""
        names = _exact_names(selection)
        parameters: list[object] = [self._backend_alias]
        for name in names:
            parameters += (self._backend_alias, name, executors)
        cursor.execute(
            sql.look(len(names)),
            parameters if names else [*parameters, self._backend_alias, executors],
        )
        moment, pauses, *found = cursor.fetchone()
        now, paused = moment.replace(tzinfo=UTC), frozenset(json.loads(pauses or "[]"))
        if names:
            served = [name for name, is_there in zip(names, found, strict=True) if is_there]
            return Look(now, [(name,) for name in served if name not in paused])
        if not found[0]:
            return Look(now, ())
        if selection.is_everything and not paused:
            return Look(now, (None,))
        return Look(now, _choices(selection, self._names(cursor), paused))

    def _names(self, cursor: Any) -> set[str]:
        """The names of the queues that have ready jobs."""
        if len(self._known) > _MOST_NAMES:
            self._known.clear()
        names: set[str] = set()
        asked = ["", *self._known]
        while asked:
            first_after = dict(zip(asked, self._firsts_after(cursor, asked), strict=True))
            found = {name: after for after, name in first_after.items() if name is not None}
            names |= found.keys()
            asked = [name for name in found if name not in self._known]
            for name in asked:
                # Of several that it comes after, the last stands in `found`: there is its place.
                after = found[name]
                self._known.insert(self._known.index(after) + 1 if after else 0, name)
        return names

    def _firsts_after(self, cursor: Any, names: Sequence[str]) -> Sequence[str | None]:
        cursor.execute(
            sql.first_names(len(names)),
            [value for name in names for value in (self._backend_alias, name)],
        )
        return cast("Sequence[str | None]", cursor.fetchone())


def _exact_names(selection: QueueSelection) -> list[str]:
    """The names in *selection* if it has nothing else."""
    if all(each.kind is SelectorKind.EXACT for each in selection.selectors):
        return [each.text for each in selection.selectors]
    return []


def _choices(
    selection: QueueSelection, present: Iterable[str], paused: frozenset[str]
) -> list[tuple[str, ...]]:
    served, choices = set(paused), []
    for selector in selection.selectors:
        names = tuple(name for name in present if selector.matches(name) and name not in served)
        served.update(names)
        if names:
            choices.append(names)
    return choices
