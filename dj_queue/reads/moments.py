"""Times in statements that are not Django's."""

from datetime import datetime
from typing import Any

from django.db import connections

from dj_queue.models import ReadyExecution
from dj_queue.store.shared import django_time, from_column

# Any column of times: how they are converted depends on the database alone.
_COLUMN = ReadyExecution._meta.get_field("created_at").get_col("x")  # noqa: SLF001


def read_moment(database: str, value: Any) -> datetime | None:
    """What a column of *database* gives, as an aware time."""
    connection = connections[database]
    for convert in connection.ops.get_db_converters(_COLUMN):
        value = convert(value, None, connection)
    return from_column(value)


def write_moment(database: str, moment: datetime) -> Any:
    """*moment*, aware, as a parameter."""
    return connections[database].ops.adapt_datetimefield_value(django_time(moment))
