"""Actions on all jobs that match a filter: at once while these are few, by a job of our own otherwise.

The scope is frozen when the action is asked for: only rows with keys up to the highest one of that
moment are looked at, in the order of their keys. After each batch the row of the action says how far it
is, so a worker that takes over from a lost one goes on there, and whoever watches sees it move.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db.models import F
from django.utils import timezone

from dj_queue.admin.actions import JOB_ACTIONS, JobAction
from dj_queue.admin.queries.filters import JobFilter
from dj_queue.admin.queries.job_list import last_key, matching_ids
from dj_queue.config import BackendConfig, backend_config
from dj_queue.models import BulkAction
from dj_queue.reads.tasks import as_enqueued, unvalidated_task
from dj_queue.states import JobState
from dj_queue.typing import AnyTask
from dj_queue.wording import Count

BATCH = 500
"""Rows that are looked at in one step."""

AT_ONCE = 2
"""Batches that are done in the request itself."""

# What was done longer ago is in the admin's log alone.
_KEPT = timedelta(days=30)

type BulkRows = Any


def start(config: BackendConfig, action: JobAction, wanted: JobFilter, user: str) -> BulkAction:
    """Do *action* to all jobs that match *wanted* now; what is not done when this returns, a job does."""
    rows = BulkAction.objects.using(config.options.database_alias)
    rows.filter(finished_at__lt=timezone.now() - _KEPT).delete()
    bulk = rows.create(
        backend_alias=config.alias,
        action=action.name,
        filters=wanted.query,
        last_key=last_key(config, wanted.state),
        requested_by=user[:255],
    )
    for _ in range(AT_ONCE):
        if not step(config, bulk):
            return bulk
    _save(config, bulk, state=BulkAction.State.WAITING)
    task = as_enqueued(
        run_bulk_action,
        priority=0,
        queue_name=config.options.admin.bulk_queue,
        run_after=None,
        backend=config.alias,
    )
    task.enqueue(config.alias, bulk.pk)
    return bulk


def matching(config: BackendConfig, wanted: JobFilter) -> Count:
    """How many jobs match *wanted* of as many rows as are gone through at once; at least so many of more."""
    limit = BATCH * AT_ONCE
    ids, _, looked_at = matching_ids(
        config, wanted, after=0, up_to=last_key(config, wanted.state), limit=limit
    )
    return Count(len(ids), is_capped=looked_at >= limit)


def stop(config: BackendConfig, bulk: BulkAction) -> bool:
    """Ask for no further batch; False when it was over already."""
    rows = _rows(config, bulk).filter(
        state__in=(BulkAction.State.WAITING, BulkAction.State.RUNNING)
    )
    return bool(rows.update(state=BulkAction.State.STOPPING, updated_at=timezone.now()))


def step(config: BackendConfig, bulk: BulkAction) -> bool:
    """Do one batch; whether there may be another one."""
    wanted, action = JobFilter.read(bulk.filters), JOB_ACTIONS[bulk.action]
    ids, reached, looked_at = matching_ids(
        config, wanted, after=bulk.cursor, up_to=bulk.last_key, limit=BATCH
    )
    done = action.apply(config, JobState(wanted.state), ids) if ids else None
    is_last = looked_at < BATCH
    _rows(config, bulk).update(
        cursor=reached,
        examined=F("examined") + looked_at,
        done=F("done") + (done.count if done else 0),
        refused=F("refused") + (done.refused if done else 0),
        updated_at=timezone.now(),
    )
    bulk.refresh_from_db()
    if bulk.state == BulkAction.State.STOPPING:
        _save(config, bulk, state=BulkAction.State.STOPPED)
        return False
    if is_last:
        _save(config, bulk, state=BulkAction.State.FINISHED)
    return not is_last


def run_all(backend_alias: str, bulk_id: int) -> int:
    """What the job does; how many jobs it was done to."""
    config = backend_config(backend_alias)
    bulk = BulkAction.objects.using(config.options.database_alias).get(pk=bulk_id)
    _rows(config, bulk).filter(state=BulkAction.State.WAITING).update(
        state=BulkAction.State.RUNNING
    )
    if bulk.is_over:
        return bulk.done
    try:
        while step(config, bulk):
            pass
    except Exception as error:
        _save(
            config, bulk, state=BulkAction.State.FAILED, message=f"{type(error).__name__}: {error}"
        )
        raise
    return bulk.done


def _save(config: BackendConfig, bulk: BulkAction, *, state: str, message: str = "") -> None:
    now = timezone.now()
    is_over = state in BulkAction.OVER
    rows = _rows(config, bulk)
    if not is_over:
        # Somebody may have asked for the end meanwhile.
        rows = rows.exclude(state=BulkAction.State.STOPPING)
    rows.update(state=state, message=message, updated_at=now, finished_at=now if is_over else None)
    bulk.refresh_from_db()


def _rows(config: BackendConfig, bulk: BulkAction) -> BulkRows:
    return BulkAction.objects.using(config.options.database_alias).filter(pk=bulk.pk)


def _task(function: Callable[..., int]) -> AnyTask:
    # A worker that dies in the middle leaves an action that another one can go on with.
    function.on_worker_lost = "requeue"  # type: ignore[attr-defined]
    # Not `@task`: that asks the backend `default` whether it would take it, and this one goes to any.
    function.__name__ = function.__qualname__ = "run_bulk_action"
    return unvalidated_task(function)


run_bulk_action = _task(run_all)
"""The task; `start` enqueues it on the backend whose jobs it is about."""
