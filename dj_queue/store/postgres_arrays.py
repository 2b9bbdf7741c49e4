"""Lists on their way to PostgreSQL, written by hand where psycopg takes its time.

psycopg looks at each element of a list for its type and for characters to escape. Of numbers and ids we
know both; and JSON text never contains a raw control character, so one may separate it. On a batch of 500
outcomes this is the difference between 4 ms and half a millisecond (benchmarks, drain).
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

_SEPARATOR = "\x1f"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def numbers(values: Iterable[int]) -> str:
    """An array literal of whole numbers, for `::bigint[]` or `::smallint[]`."""
    return "{" + ",".join(map(str, values)) + "}"


def ids(values: Iterable[UUID]) -> str:
    """An array literal for `::uuid[]`."""
    return "{" + ",".join([value.hex for value in values]) + "}"


def microseconds(values: Iterable[datetime]) -> str:
    """An array literal of microseconds since 1970, exact, for `::bigint[]`."""
    return numbers(
        [
            (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
            for passed in [value - _EPOCH for value in values]
        ]
    )


def json_texts(values: Iterable[str | None]) -> str:
    """JSON texts for `string_to_array(%s, chr(31), '')`; None becomes NULL."""
    return _SEPARATOR.join([value or "" for value in values])
