"""Job rows are deleted here, with what points to them, in a constant number of statements.

Not by the ORM's `delete()`: it asks every table with a relation for rows to cascade to, which for a batch
of finished jobs are six statements that find nothing.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Exists, Model, OuterRef, Q, QuerySet

from dj_queue.models import (
    BlockedExecution,
    FailedExecution,
    Job,
    RecurringExecution,
    SemaphoreHolder,
)
from dj_queue.operations.locking import in_one_statement, in_transaction

# Those that the database itself would not let go of their job.
_HOLDING: tuple[type[Model], ...] = (BlockedExecution, FailedExecution, SemaphoreHolder)


def remove_jobs(database: str, ids: Sequence[UUID], state: type[Model] | None = None) -> int:
    """Delete jobs, and their rows in the table of *state* (None: they are finished); how many jobs.

    Two or three statements in the caller's transaction. The record of a recurring job's firing stays and
    lets go of its job. Slots must have been given back before. A job that is also in a state in which
    it should not be stays, for `dj_queue_health --deep` to tell of.
    """
    if not ids:
        return 0
    if state is not None:
        delete_raw(_of(state, database).filter(job_id__in=ids))
    RecurringExecution.objects.using(database).filter(job_id__in=ids).update(job=None)
    return delete_raw(_let_go(Job.objects.using(database).filter(pk__in=ids)))


class Bounds(NamedTuple):
    """A stretch of the key of jobs."""

    after: UUID | None = None
    last: UUID | None = None
    before: UUID | None = None
    """Instead of `last`. Of two upper bounds, SQLite searches by the first and reads all up to it."""

    def of(self, name: str) -> Q:
        """The condition that the column *name* is within."""
        bounds = {"gt": self.after, "lte": self.last, "lt": self.before}
        return Q(**{f"{name}__{way}": key for way, key in bounds.items() if key is not None})


def remove_stretch(database: str, bounds: Bounds, condition: Q) -> int:
    """Delete the jobs within *bounds* for which *condition* is true, without a list of ids; how many.

    They must have finished, and be most of the stretch. A list of 1000 ids takes Python and the database ten
    times as long as the rows themselves; the rest is as in `remove_jobs`.
    """
    jobs = Job.objects.using(database).filter(bounds.of("pk"), condition)
    delete = partial(delete_raw, _let_go(jobs))
    records = RecurringExecution.objects.using(database).filter(bounds.of("job_id"))
    if not records.exists():
        return in_one_statement(database, delete)

    def both() -> int:
        fired = Job.objects.using(database).filter(condition, pk=OuterRef("job_id"))
        records.filter(Exists(fired)).update(job=None)
        return delete()

    return in_transaction(database, both)


def delete_raw(rows: QuerySet[Any]) -> int:
    """Delete *rows* in one statement; how many there were. What points to them must be gone."""
    count: int = rows._raw_delete(rows.db)  # noqa: SLF001
    return count


def _let_go(jobs: QuerySet[Job]) -> QuerySet[Job]:
    """Those of *jobs* that are in no state, so that the database lets go of them."""
    for model in _HOLDING:
        jobs = jobs.filter(~Exists(_of(model, jobs.db).filter(job_id=OuterRef("pk"))))
    return jobs


def _of(model: type[Model], database: str) -> QuerySet[Model]:
    return model._base_manager.using(database)  # noqa: SLF001
