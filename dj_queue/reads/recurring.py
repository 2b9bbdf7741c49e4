"""Recurring tasks: what is due, and when something is due next."""

from collections.abc import Collection
from datetime import datetime

from django.db.models import Min, Q, QuerySet

from dj_queue.config import BackendConfig
from dj_queue.models import RecurringTask
from dj_queue.store.shared import django_time, from_column


def due_tasks(
    config: BackendConfig, now: datetime, *, limit: int, without: Collection[int] = ()
) -> list[RecurringTask]:
    """Up to *limit* entries whose time has come at *now*, the earliest first, but for the rows *without*.

    Entries without a next time are among them. One statement.
    """
    due = Q(next_run_at__lte=django_time(now)) | Q(next_run_at__isnull=True)
    rows = firing_tasks(config).filter(due)
    if without:
        rows = rows.exclude(pk__in=without)
    return list(rows.order_by("next_run_at", "pk")[:limit])


def next_time(config: BackendConfig, now: datetime) -> datetime | None:
    """When the first entry is due after *now*, aware; None when there is none. One statement."""
    later = firing_tasks(config).filter(next_run_at__gt=django_time(now))
    return from_column(later.aggregate(first=Min("next_run_at"))["first"])


def firing_tasks(config: BackendConfig) -> QuerySet[RecurringTask]:
    """The entries that this backend fires."""
    rows = RecurringTask.objects.using(config.options.database_alias).filter(
        backend_alias=config.alias, enabled=True
    )
    return rows if config.options.scheduler.dynamic_tasks_enabled else rows.filter(static=True)
