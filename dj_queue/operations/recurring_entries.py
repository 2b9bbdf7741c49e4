"""Writing recurring tasks down: those of settings and decorators together, those of people one by one."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, cast

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet

from dj_queue import events
from dj_queue.config import BackendConfig, RecurringTaskConfig, backend_config
from dj_queue.config.recurring import read_entry
from dj_queue.exceptions import ConfigurationError, EnqueueError, InvalidRecurringTask
from dj_queue.models import RecurringTask
from dj_queue.operations.declared import Rejected, task_at
from dj_queue.operations.enqueue import storable_payload
from dj_queue.operations.locking import in_transaction
from dj_queue.schedule import parse
from dj_queue.store import store_for
from dj_queue.store.shared import django_time, from_column

# Two schedulers that start at once may both insert an entry; the second has to look again.
_ATTEMPTS = 3

_WHEN = ("schedule", "timezone")


class Changes(NamedTuple):
    """What has to be written so that the rows say what the entries say."""

    new: list[RecurringTask]
    changed: list[tuple[RecurringTask, dict[str, Any]]]
    gone: list[RecurringTask]
    rejected: list[Rejected]

    @property
    def are_there(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.new or self.changed or self.gone)


def upsert_static_recurring_tasks(
    configs: Sequence[RecurringTaskConfig], *, backend_alias: str = "default"
) -> list[Rejected]:
    """Make *configs* the static recurring tasks of a backend: in one transaction, and only what changed.

    Returns those that cannot be used: their schedule means nothing, their arguments cannot be stored, or
    `schedule_recurring_task()` has their key. Such an entry does not fire; nothing is wrong with the others.
    """
    return write_static(backend_config(backend_alias), configs)


def write_static(config: BackendConfig, configs: Sequence[RecurringTaskConfig]) -> list[Rejected]:
    """See `upsert_static_recurring_tasks`."""
    changes = _changes(config, configs)
    attempt = 0
    while changes.are_there:
        try:
            in_transaction(config.options.database_alias, lambda: _write_locked(config, configs))
            break
        except IntegrityError:
            attempt += 1
            if attempt == _ATTEMPTS:
                raise
            changes = _changes(config, configs)
    return changes.rejected


def schedule(config: BackendConfig, key: str, given: Mapping[str, Any]) -> RecurringTask:
    """Write the dynamic entry *key* with the options in *given*; raises `EnqueueError` if it cannot be."""
    values = _checked(config, key, given)
    # Perhaps no scheduler has written it down yet.
    if any(entry.key == key for entry in config.options.recurring):
        raise _owned(config, key)
    for _ in range(_ATTEMPTS):
        try:
            row = in_transaction(
                config.options.database_alias, lambda: _written(config, key, values)
            )
        except IntegrityError:
            continue  # Somebody else has written it in this moment.
        if row is not None:
            return row
    raise InvalidRecurringTask(
        f"the recurring task {key!r} is being changed by others all the time"
    )


def unschedule(config: BackendConfig, key: str) -> int:
    """Delete the entry *key* unless it comes from settings or a decorator; how many were deleted."""

    def work() -> int:
        deleted, _ = entries(config).filter(key=key, static=False).delete()
        if deleted:
            tell_changed(config)
        return deleted

    return in_transaction(config.options.database_alias, work)


def switch(config: BackendConfig, key: str, *, on: bool) -> int:
    """Have the entry *key* fire, or not; how many there are.

    Off means off, also when settings say otherwise. On again, it starts with the first time from now.
    """
    entry = entries(config).filter(key=key).first()
    if entry is None:
        return 0
    now = store_for(config.options.database_alias).now()
    values: dict[str, Any] = {"enabled": on, "disabled_by_hand": not on}
    if on and not entry.enabled:
        values["next_run_at"] = django_time(parse(entry.schedule, entry.timezone).next(now))

    def work() -> int:
        changed = entries(config).filter(pk=entry.pk).update(**values, updated_at=django_time(now))
        tell_changed(config)
        return changed

    return in_transaction(config.options.database_alias, work)


def entries(config: BackendConfig) -> QuerySet[RecurringTask]:
    """The recurring tasks of a backend."""
    rows = RecurringTask.objects.using(config.options.database_alias)
    return rows.filter(backend_alias=config.alias)


def tell_changed(config: BackendConfig) -> None:
    """Wake whoever fires, here and in other processes, when the transaction has committed."""
    database = config.options.database_alias
    store_for(database).announce_recurring(config.alias)
    changed = events.RecurringTasksChanged(database, config.alias)
    transaction.on_commit(partial(events.emit, changed), using=database)


def _checked(config: BackendConfig, key: str, given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        entry = read_entry(key, given, "schedule_recurring_task")
    except ConfigurationError as error:
        raise InvalidRecurringTask(str(error)) from None
    values = _values(config, entry)
    try:
        # Which says what is wrong with the queue and the priority, too.
        task_at(entry.task_path).using(
            queue_name=entry.queue_name, priority=entry.priority, backend=config.alias
        )
    except EnqueueError:
        raise
    except Exception as error:
        raise InvalidRecurringTask(f"the recurring task {key!r}: {error}") from error
    return {**values, "static": False}


def _written(config: BackendConfig, key: str, values: dict[str, Any]) -> RecurringTask | None:
    """The row with *values*; None when it was taken away while this was done."""
    now = store_for(config.options.database_alias).now()
    row = entries(config).filter(key=key).first()
    if row is None:
        row = _new_row(config, key, values, now)
        with transaction.atomic(using=config.options.database_alias):
            # Not `save`, which would ask first what is known here, and be no surer of the key.
            row.save_base(using=config.options.database_alias, force_insert=True)
    elif row.static:
        raise _owned(config, key)
    else:
        changed = _differing(row, values, now) | {"updated_at": django_time(now)}
        if not entries(config).filter(pk=row.pk, static=False).update(**changed):
            return None
        for name, value in changed.items():
            setattr(row, name, value)
    tell_changed(config)
    return row


def _write_locked(config: BackendConfig, configs: Sequence[RecurringTaskConfig]) -> None:
    database = config.options.database_alias
    # A write that changes nothing: it takes the locks of the rows everywhere, and SQLite's one lock.
    entries(config).update(static=F("static"))
    changes = _changes(config, configs)
    now = django_time(store_for(database).now())
    rows = RecurringTask.objects.using(database)
    rows.bulk_create(changes.new)
    for row, changed in changes.changed:
        rows.filter(pk=row.pk).update(**changed, updated_at=now)
    rows.filter(pk__in=[row.pk for row in changes.gone]).delete()
    tell_changed(config)


def _changes(config: BackendConfig, configs: Sequence[RecurringTaskConfig]) -> Changes:
    now = store_for(config.options.database_alias).now()
    rows = {row.key: row for row in entries(config)}
    changes = Changes([], [], [], [])
    used = set()
    for entry in configs:
        row = rows.get(entry.key)
        try:
            values = {**_values(config, entry), "static": True}
            if row is not None and not row.static:
                raise InvalidRecurringTask(
                    f"the key {entry.key!r} belongs to a task of schedule_recurring_task(); "
                    "unschedule that one, or name another key"
                )
        except EnqueueError as error:
            changes.rejected.append(Rejected(entry.key, error))
            continue
        used.add(entry.key)
        if row is None:
            changes.new.append(_new_row(config, entry.key, values, now))
        elif differing := _differing(row, values, now):
            changes.changed.append((row, differing))
    changes.gone.extend(row for key, row in rows.items() if row.static and key not in used)
    return changes


def _values(config: BackendConfig, entry: RecurringTaskConfig) -> dict[str, Any]:
    """The columns of *entry*; raises `EnqueueError` when its schedule or its arguments are no good."""
    parse(entry.schedule, entry.timezone)
    return {
        "task_path": entry.task_path,
        "payload": storable_payload(config, entry.args, dict(entry.kwargs)),
        "schedule": entry.schedule,
        "timezone": entry.timezone,
        "queue_name": entry.queue_name,
        "priority": entry.priority,
        "description": entry.description,
        "catch_up": entry.catch_up,
        "enabled": entry.enabled,
    }


def _new_row(
    config: BackendConfig, key: str, values: dict[str, Any], now: datetime
) -> RecurringTask:
    moment = cast("datetime", django_time(now))
    return RecurringTask(
        backend_alias=config.alias,
        key=key,
        created_at=moment,
        updated_at=moment,
        # Never one from before the entry was there.
        next_run_at=_next(values, now),
        **values,
    )


def _differing(row: RecurringTask, values: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Those of *values* that *row* has not; what changes the times starts them from *now*."""
    if row.static and row.disabled_by_hand:
        values = {**values, "enabled": False}
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    if not row.static and values["enabled"] and row.disabled_by_hand:
        changed["disabled_by_hand"] = False
    waits_for = _next(values, now)
    # With the same schedule it waits for another time if the project's time zone, or what is known of it,
    # has changed. A time that has passed is left to who makes up for it.
    is_moved = values["enabled"] and waits_for != row.next_run_at and _is_to_come(row, now)
    if any(name in changed for name in _WHEN) or changed.get("enabled") or is_moved:
        changed["next_run_at"] = waits_for
    return changed


def _is_to_come(row: RecurringTask, now: datetime) -> bool:
    next_run_at = from_column(row.next_run_at)
    return next_run_at is not None and next_run_at > now


def _next(values: Mapping[str, Any], now: datetime) -> datetime | None:
    return django_time(parse(values["schedule"], values["timezone"]).next(now))


def _owned(config: BackendConfig, key: str) -> InvalidRecurringTask:
    return InvalidRecurringTask(
        f"the recurring task {key!r} of backend {config.alias!r} comes from settings or a decorator; "
        "change it there, or name another key"
    )
