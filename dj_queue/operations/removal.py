"""Job rows are deleted here, with what points to them, in a constant number of statements.

Not by the ORM's `delete()`: it asks every table with a relation for rows to cascade to, which for a batch
of finished jobs are six statements that find nothing.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import Exists, Model, OuterRef, QuerySet

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


def remove_stretch(jobs: QuerySet[Job], records: QuerySet[RecurringExecution]) -> int:
    """Delete *jobs*, the finished ones of a stretch of their key, without a list of ids; how many.

    *records*: those of firings whose jobs lie in the stretch, nearly all of which must be about to go. A list
    of 1000 ids takes Python and the database ten times as long as the rows themselves; the rest is as in
    `remove_jobs`.
    """
    database = jobs.db
    delete = partial(delete_raw, _let_go(jobs))
    if not records.exists():
        return in_one_statement(database, delete)

    def both() -> int:
        records.update(job=None)
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
