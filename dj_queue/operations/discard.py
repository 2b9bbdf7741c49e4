"""Discard: jobs that nobody has begun, or that failed, are deleted for good.

A batch is a transaction with a constant number of statements. Rows that somebody else holds are passed
over: a job that is being claimed in this moment runs. Claimed jobs cannot be discarded.
"""

from collections.abc import Callable, Iterable
from functools import partial
from uuid import UUID

from django.db.models import Max, QuerySet

from dj_queue import events
from dj_queue.config import BackendConfig
from dj_queue.ids import read_job_id
from dj_queue.models import (
    BlockedExecution,
    FailedExecution,
    ReadyExecution,
    ScheduledExecution,
)
from dj_queue.operations import limits
from dj_queue.operations.dispatch import emit_after_commit
from dj_queue.operations.locking import in_transaction, locked
from dj_queue.operations.removal import remove_jobs

type Waiting = (
    type[ReadyExecution] | type[ScheduledExecution] | type[BlockedExecution] | type[FailedExecution]
)


def discard_batch(
    config: BackendConfig,
    state: Waiting,
    *,
    job_ids: Iterable[object] | None = None,
    queue_name: str | None = None,
    up_to: int | None = None,
    batch_size: int = 500,
) -> int:
    """Delete up to *batch_size* jobs of *config*'s backend in *state*; how many.

    Only those of *job_ids* (ids that are in another state, or unknown, are passed over), of *queue_name*,
    and with rows *up_to* that key, where these are given.
    """
    rows = _rows(config, state)
    if job_ids is not None:
        rows = rows.filter(job_id__in=[read_job_id(each) for each in job_ids])
    if queue_name is not None:
        rows = rows.filter(queue_name=queue_name)
    if up_to is not None:
        rows = rows.filter(pk__lte=up_to)
    if batch_size < 1:
        raise ValueError(f"batch_size: expected a whole number above 0, found {batch_size!r}")
    database = config.options.database_alias
    return in_transaction(
        database, partial(_discard, config, state, rows.order_by("pk"), batch_size)
    )


def discard_all(config: BackendConfig, state: Waiting, *, batch_size: int = 500) -> int:
    """Delete all jobs of *config*'s backend that are in *state* now, batch by batch; how many."""
    return _until_none(
        partial(
            discard_batch,
            config,
            state,
            up_to=last_row(_rows(config, state)),
            batch_size=batch_size,
        )
    )


def clear_queue(config: BackendConfig, queue_name: str, *, batch_size: int = 500) -> int:
    """Delete all jobs of a queue that are ready now, batch by batch; how many.

    Those that become ready meanwhile stay: new ones, and above all jobs that waited for the slot
    of a deleted one.
    """
    rows = _rows(config, ReadyExecution).filter(queue_name=queue_name)
    return _until_none(
        partial(
            discard_batch,
            config,
            ReadyExecution,
            queue_name=queue_name,
            up_to=last_row(rows),
            batch_size=batch_size,
        )
    )


def last_row(rows: QuerySet[ReadyExecution]) -> int:
    """The highest key of *rows*; one below all keys that rows are given when there are none."""
    highest: int | None = rows.aggregate(last=Max("pk"))["last"]
    return 0 if highest is None else highest


def _until_none(discard: Callable[[], int]) -> int:
    total = 0
    while count := discard():
        total += count
    return total


def _rows(config: BackendConfig, state: Waiting) -> QuerySet[ReadyExecution]:
    # Typed as one of the tables; the others have the columns that are asked for, too.
    # A failed row has no backend of its own.
    column = "job__backend_alias" if state is FailedExecution else "backend_alias"
    rows: QuerySet[ReadyExecution] = state.objects.using(  # type: ignore[assignment]
        config.options.database_alias
    ).filter(**{column: config.alias})
    return rows


def _discard(
    config: BackendConfig, state: Waiting, rows: QuerySet[ReadyExecution], batch_size: int
) -> int:
    database = config.options.database_alias
    ids: list[UUID] = [row.job_id for row in locked(rows, limit=batch_size)]
    if not ids:
        return 0
    if state is ReadyExecution:
        # Blocked, scheduled and failed jobs hold no slot.
        limits.release_holders(database, ids)
    count = remove_jobs(database, ids, state)
    emit_after_commit(
        database, events.JobsDiscarded(config.alias, count, _NAMES[state], tuple(ids))
    )
    return count


_NAMES = {
    ReadyExecution: "ready",
    ScheduledExecution: "scheduled",
    BlockedExecution: "blocked",
    FailedExecution: "failed",
}
