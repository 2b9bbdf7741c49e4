"""Firing of recurring tasks.

A firing is one transaction. It moves the entry on to its next time, which locks the entry's row and finds
out whether it is still as the scheduler has read it; it enqueues the job; and it records entry and time in
a row that is unique. So of any number of schedulers one fires, and a firing is there as a whole or not at
all. That row stays when the job is deleted.
"""

from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, cast

from django.db import IntegrityError, transaction
from django.db.models import Case, F, Value, When

from dj_queue import arguments, events, tracing
from dj_queue.config import BackendConfig, backend_config
from dj_queue.exceptions import AlreadyRecorded, InvalidRecurringTask
from dj_queue.models import RecurringExecution, RecurringTask
from dj_queue.operations import nominal
from dj_queue.operations.declared import task_at
from dj_queue.operations.enqueue import TaskCall, enqueue
from dj_queue.operations.locking import in_transaction
from dj_queue.operations.recurring_entries import entries, upsert_static_recurring_tasks
from dj_queue.schedule import Schedule, parse
from dj_queue.store import store_for
from dj_queue.store.shared import django_time

__all__ = [
    "Firing",
    "fire",
    "fire_recurring_task",
    "pass_over",
    "prepared",
    "run_now",
    "upsert_static_recurring_tasks",
]


class Firing(NamedTuple):
    """An entry that can be fired: there is such a task, and its schedule means something."""

    entry: RecurringTask
    schedule: Schedule
    call: TaskCall


def fire_recurring_task(
    recurring_task: RecurringTask, run_at: datetime, *, backend_alias: str = "default"
) -> RecurringExecution | None:
    """Enqueue the job of *recurring_task* for *run_at*, once whoever else does the same.

    None when that has been done before, or the task was changed or taken away since it was read. Raises
    `TaskNotImportable`, `EnqueueError` or `InvalidTask` when there can be no such job.
    """
    config = backend_config(backend_alias)
    return fire(config, prepared(config, recurring_task), run_at)


def prepared(config: BackendConfig, entry: RecurringTask) -> Firing:
    """What is needed to fire *entry*; raises as `fire_recurring_task` does."""
    task = task_at(entry.task_path).using(
        queue_name=entry.queue_name, priority=entry.priority, backend=config.alias
    )
    args, kwargs = arguments.restored(entry.payload or {"args": [], "kwargs": {}})
    return Firing(entry, parse(entry.schedule, entry.timezone), (task, args, kwargs))


def fire(config: BackendConfig, firing: Firing, run_at: datetime) -> RecurringExecution | None:
    """See `fire_recurring_task`."""

    def work() -> RecurringExecution | None:
        if not _move_on(config, firing.entry, run_at, firing.schedule.next(run_at)):
            return None
        return _recorded(config, firing, run_at)

    return _unless_recorded(config, work)


def run_now(config: BackendConfig, key: str) -> RecurringExecution:
    """Enqueue the job of the entry *key* for this moment; its times stay as they are.

    Raises `InvalidRecurringTask` when there is no such entry.
    """
    entry = entries(config).filter(key=key).first()
    if entry is None:
        raise InvalidRecurringTask(
            f"there is no recurring task {key!r} of backend {config.alias!r}"
        )
    firing = prepared(config, entry)
    run_at = store_for(config.options.database_alias).now()
    fired = _unless_recorded(config, partial(_recorded, config, firing, run_at))
    if fired is None:
        raise AlreadyRecorded
    return fired


def pass_over(config: BackendConfig, entry: RecurringTask, now: datetime) -> None:
    """Move *entry* on to its first time after *now*, without firing."""
    _move_on(config, entry, now, parse(entry.schedule, entry.timezone).next(now))


def _move_on(
    config: BackendConfig, entry: RecurringTask, run_at: datetime, next_run_at: datetime
) -> bool:
    """Let *entry* wait for *next_run_at* and lock it; False when it is not any more as it was read."""
    same = entries(config).filter(
        pk=entry.pk, schedule=entry.schedule, timezone=entry.timezone, enabled=entry.enabled
    )
    # Whoever fires an early time by hand, or comes late, takes nothing from those that are to come.
    further = Case(
        When(next_run_at__gt=django_time(run_at), then=F("next_run_at")),
        default=Value(django_time(next_run_at)),
    )
    return bool(same.update(next_run_at=further))


def _recorded(config: BackendConfig, firing: Firing, run_at: datetime) -> RecurringExecution:
    """The job and the record of it; raises `AlreadyRecorded`, which has to end the transaction."""
    database, entry = config.options.database_alias, firing.entry
    with tracing.fires(entry.key, run_at):
        [enqueued] = enqueue(config, [firing.call], notes=nominal.note(run_at))
    try:
        record = RecurringExecution.objects.using(database).create(
            backend_alias=config.alias,
            job_id=enqueued.job.id,
            task_key=entry.key,
            run_at=cast("datetime", django_time(run_at)),
            created_at=cast("datetime", django_time(enqueued.created_at)),
        )
    except IntegrityError as error:
        raise AlreadyRecorded from error
    fired = events.RecurringTaskFired(config.alias, entry.key, run_at, enqueued.job.id)
    transaction.on_commit(partial(events.emit, fired), using=database)
    return record


def _unless_recorded(config: BackendConfig, work: Any) -> RecurringExecution | None:
    try:
        found: RecurringExecution | None = in_transaction(config.options.database_alias, work)
    except AlreadyRecorded:
        return None
    return found
