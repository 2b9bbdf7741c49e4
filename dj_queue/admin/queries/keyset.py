"""Pages of rows in the order of an index: each begins where the one before ended, at the same cost.

An `OFFSET` reads all that it passes over. Where columns of an order go in different directions, no
comparison of rows says "after this one", and an OR of comparisons makes databases give up the index;
so what comes after a row is asked for in parts, each of which is a range of the index.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet

type Cursor = tuple[Any, ...]


def rows_after(
    rows: QuerySet[Any],
    order: Sequence[str],
    columns: Sequence[str],
    cursor: Cursor | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Up to *limit* of *rows* after *cursor* in *order*, with *columns* and those of the order."""
    wanted = {*columns, *(name.lstrip("-") for name in order)}
    ordered = rows.order_by(*order).values(*wanted)
    if cursor is None:
        return list(ordered[:limit])
    found: list[dict[str, Any]] = []
    for part in _parts(order, cursor):
        found += ordered.filter(part)[: limit - len(found)]
        if len(found) >= limit:
            break
    return found


def cursor_of(row: dict[str, Any], order: Sequence[str]) -> Cursor:
    """Where *row* stands in *order*."""
    return tuple(row[name.lstrip("-")] for name in order)


def written(cursor: Cursor) -> str:
    """*cursor* for an address."""
    text = json.dumps([each if isinstance(each, int) else _text(each) for each in cursor])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(text: str | None, model: type[Model], order: Sequence[str]) -> Cursor | None:
    """The cursor in *text*; None when there is none, or what is there was not written by `written`."""
    if not text:
        return None
    try:
        padded = text + "=" * (-len(text) % 4)
        found = json.loads(base64.urlsafe_b64decode(padded.encode()))
        fields = [model._meta.get_field(name.lstrip("-")) for name in order]  # noqa: SLF001
        return tuple(
            field.to_python(value)  # type: ignore[union-attr]
            for field, value in zip(fields, found, strict=True)
        )
    except (ValueError, TypeError, binascii.Error, ValidationError):
        return None


def _parts(order: Sequence[str], cursor: Cursor) -> Iterator[Q]:
    names = [name.lstrip("-") for name in order]
    for length in range(len(order), 0, -1):
        same = dict(zip(names[: length - 1], cursor, strict=False))
        descends = order[length - 1].startswith("-")
        beyond = f"{names[length - 1]}__{'lt' if descends else 'gt'}"
        yield Q(**same, **{beyond: cursor[length - 1]})


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return value.hex
    return str(value)
