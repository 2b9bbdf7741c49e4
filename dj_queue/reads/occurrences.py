"""What is counted besides attempts: failures by the class of their error, times not made up for, enqueues.

See `dj_queue.models.statistics.Occurrence`. Nothing here ever goes down.
"""

from collections import Counter

from django.db.models import QuerySet

from dj_queue.models import Occurrence
from dj_queue.models.statistics import ENQUEUED, FAILURE, MISSED, OTHER_ERRORS

# Rows that are read. The oldest, so that those that are told are always the same.
_MOST_ROWS = 5_000


def failures(
    database: str, backend_alias: str, most_errors: int
) -> dict[tuple[str, str, str], int]:
    """Failed attempts ever counted, by queue, task and class of error.

    Classes beyond the first *most_errors* that were ever seen are one, `OTHER_ERRORS`: each process keeps to
    that number, and a hundred processes may have seen different ones.
    """
    found: Counter[tuple[str, str, str]] = Counter()
    known: dict[str, None] = {OTHER_ERRORS: None}
    for queue, task, error, times in _rows(database, backend_alias, FAILURE).values_list(
        "queue_name", "task_path", "about", "times"
    )[:_MOST_ROWS]:
        if len(known) <= most_errors:
            known.setdefault(error)
        found[queue, task, error if error in known else OTHER_ERRORS] += times
    return dict(found)


def enqueued(database: str, backend_alias: str) -> dict[tuple[str, str], int]:
    """Jobs ever counted when they were enqueued, by queue and task."""
    rows = _rows(database, backend_alias, ENQUEUED).values_list("queue_name", "task_path", "times")
    return {(queue, task): times for queue, task, times in rows[:_MOST_ROWS]}


def missed(database: str, backend_alias: str) -> dict[str, int]:
    """How often times of a recurring task had passed that were not made up for, by its key."""
    rows = _rows(database, backend_alias, MISSED).values_list("about", "times")
    return dict(rows[:_MOST_ROWS])


def _rows(database: str, backend_alias: str, kind: str) -> QuerySet[Occurrence]:
    rows = Occurrence.objects.using(database).filter(backend_alias=backend_alias, kind=kind)
    return rows.order_by("id")
