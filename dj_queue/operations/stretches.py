"""Finished jobs are deleted by stretches of their key, which is in order of time (UUIDv7).

Jobs have no index but their key, so finding the old ones means walking it. Nobody needs the rows that are
walked over: the database counts what is due in a stretch, and deletes it by the bounds of the stretch.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from dj_queue.config import BackendConfig
from dj_queue.models import Job
from dj_queue.operations.locking import in_transaction
from dj_queue.operations.removal import Bounds, remove_jobs, remove_stretch
from dj_queue.store import store_for
from dj_queue.store.shared import django_time

# A planner without statistics takes a third of the table for what lies below a bound, and reads all of it;
# between two bounds it takes the index.
_FIRST = UUID(int=0)


class Page(NamedTuple):
    """What came of a stretch of the key of jobs."""

    cleared: int
    last: UUID | None
    """The last job that was looked at; None at the end of the walk."""
    left: int
    """How many jobs that were looked at are still there."""


def is_due(config: BackendConfig, cutoff: datetime, task_path: str | None = None) -> Q:
    """The condition on jobs that they are of *config*'s backend and ended well before *cutoff*."""
    due = Q(backend_alias=config.alias, finished_at__lt=django_time(cutoff))
    return due if task_path is None else due & Q(task_path=task_path)


def clear_page(
    config: BackendConfig,
    cutoff: datetime,
    *,
    after: UUID | None,
    before: UUID,
    size: int,
    most: int = 0,
) -> Page:
    """Look at *size* jobs whose ids lie between *after* and *before*; delete those finished before *cutoff*.

    If none of the first *most* of them has to go, those are the page. At most six statements. Jobs of other
    backends, and those that have not finished or not long ago, are passed over.
    """
    after = after or _FIRST
    jobs = Job.objects.using(config.options.database_alias).filter(pk__gt=after)
    condition = is_due(config, cutoff)
    walk = jobs.filter(pk__lt=before).order_by("pk")
    for number in (most, size) if most > size else (size,):
        counts = walk[:number].aggregate(seen=Count("pk"), due=Count("pk", filter=condition))
        seen, due = counts["seen"], counts["due"]
        if not due:
            size = number
            break
    last = None
    if seen == size:
        last = next(iter(walk.values_list("pk", flat=True)[size - 1 : size]), None)
    if not due:
        return Page(0, last, seen)
    bounds = Bounds(after, before=before) if last is None else Bounds(after, last)
    if _goes_by_bounds(jobs, due=due, seen=seen):
        cleared = remove_stretch(jobs.db, bounds, condition)
    else:
        ids = jobs.filter(bounds.of("pk"), condition).values_list("pk", flat=True)
        cleared = _remove_by_ids(jobs.db, list(ids))
    return Page(cleared, last, seen - cleared)


def clear_first(database: str, condition: Q, *, after: UUID | None, size: int) -> Page:
    """Delete the first *size* of the jobs that are due by *condition* and come after *after*."""
    jobs = Job.objects.using(database)
    walk = jobs.filter(condition, pk__gt=after or _FIRST).order_by("pk")
    ids = list(walk.values_list("pk", flat=True)[:size])
    if not ids:
        return Page(0, None, 0)
    # From the first of them on: what comes before it stays, however much that is.
    bounds = Bounds(UUID(int=ids[0].int - 1), ids[-1])
    # No more are counted than it takes to know that too many would stay.
    seen = jobs.filter(bounds.of("pk"))[: 2 * len(ids) + 1].count()
    if _goes_by_bounds(jobs, due=len(ids), seen=seen):
        cleared = remove_stretch(database, bounds, condition)
    else:
        cleared = _remove_by_ids(database, ids)
    return Page(cleared, ids[-1] if len(ids) == size else None, len(ids) - cleared)


def _goes_by_bounds(jobs: QuerySet[Job], *, due: int, seen: int) -> bool:
    """Whether *due* of *seen* jobs in a stretch are best deleted by its bounds.

    Where some stay they must be few, because their rows are read while others may have to wait; and the
    database must not wait for them.
    """
    return due == seen or (2 * due >= seen and not store_for(jobs.db).waits_for_passed_rows)


def _remove_by_ids(database: str, ids: Sequence[UUID]) -> int:
    return in_transaction(database, partial(remove_jobs, database, ids))
