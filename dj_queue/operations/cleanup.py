"""Cleanup: what has been kept long enough is deleted, one batch per call.

How finished jobs are found says `dj_queue.operations.stretches`. `dj_queue.runtime.retention` walks on from
where it stopped; the functions for people begin anew at each call.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, cast
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from dj_queue.config import BackendConfig, backend_config
from dj_queue.ids import first_id_at
from dj_queue.models import FailedExecution, Job, RecurringExecution
from dj_queue.operations.locking import in_transaction, locked
from dj_queue.operations.removal import delete_raw, remove_jobs
from dj_queue.operations.stretches import clear_first, is_due
from dj_queue.store import store_for
from dj_queue.store.shared import django_time

type Age = float | timedelta


class Kind(NamedTuple):
    """What is cleared in the same way."""

    before: Callable[[BackendConfig, datetime, str | None], QuerySet[Any]]
    """Rows from before a moment, of one task or key only if that is given."""
    remove: Callable[[str, Sequence[Any]], int]


def clear_finished_jobs(
    *,
    older_than: Age | None = None,
    task_path: str | None = None,
    batch_size: int = 500,
    backend_alias: str = "default",
    now: datetime | None = None,
) -> int:
    """Delete up to *batch_size* jobs that ended well longer ago than *older_than*; how many jobs.

    *older_than* is in seconds or a `timedelta`; without it `OPTIONS["clear_finished_jobs_after"]`
    counts, and without that nothing is deleted. *task_path*: only jobs of that task. *now* replaces
    the database's clock.
    """
    batches = finished_batches(
        older_than=older_than,
        task_path=task_path,
        batch_size=batch_size,
        backend_alias=backend_alias,
        now=now,
    )
    return next(batches, 0)


def finished_batches(
    *,
    older_than: Age | None = None,
    task_path: str | None = None,
    batch_size: int = 500,
    backend_alias: str = "default",
    now: datetime | None = None,
) -> Iterator[int]:
    """Delete as `clear_finished_jobs` does, batch after batch; after each, how many jobs it had.

    What stays is passed once, not by each batch.
    """
    config = backend_config(backend_alias)
    age = config.options.clear_finished_jobs_after if older_than is None else older_than
    _check_size(batch_size)
    if age is None:
        return
    condition = is_due(config, _cutoff(config, age, now), task_path)
    database, last = config.options.database_alias, None
    while True:
        page = clear_first(database, condition, after=last, size=batch_size)
        yield page.cleared
        last = page.last
        if last is None:
            return


def clear_failed_jobs(
    *,
    older_than: Age | None = None,
    task_path: str | None = None,
    batch_size: int = 500,
    backend_alias: str = "default",
    now: datetime | None = None,
) -> int:
    """Delete up to *batch_size* jobs that failed longer ago than *older_than*; how many jobs.

    Those that wait for a scheduled retry stay. See `clear_finished_jobs`; the option is
    `clear_failed_jobs_after`.
    """
    config = backend_config(backend_alias)
    age = config.options.clear_failed_jobs_after if older_than is None else older_than
    return _cleared(config, FAILED, age, now, batch_size, task_path)


def clear_recurring_executions(
    *,
    older_than: Age | None = None,
    task_key: str | None = None,
    batch_size: int = 500,
    backend_alias: str = "default",
    now: datetime | None = None,
) -> int:
    """Delete up to *batch_size* records of firings older than *older_than*; how many.

    *task_key*: only those of that recurring task. See `clear_finished_jobs`; the option is
    `clear_recurring_executions_after`. The jobs stay.
    """
    config = backend_config(backend_alias)
    age = config.options.clear_recurring_executions_after if older_than is None else older_than
    return _cleared(config, RECORDS, age, now, batch_size, task_key)


def finished_before(
    config: BackendConfig, cutoff: datetime, task_path: str | None = None
) -> QuerySet[Job]:
    """Jobs of *config*'s backend that ended well before *cutoff*."""
    jobs = Job.objects.using(config.options.database_alias)
    return jobs.filter(is_due(config, cutoff, task_path))


def failed_before(
    config: BackendConfig, cutoff: datetime, task_path: str | None = None
) -> QuerySet[FailedExecution]:
    """Failures before *cutoff* that no retry is scheduled for, the oldest first."""
    failed = FailedExecution.objects.using(config.options.database_alias).filter(
        job__backend_alias=config.alias, created_at__lt=django_time(cutoff), retry_at__isnull=True
    )
    if task_path is not None:
        failed = failed.filter(job__task_path=task_path)
    return failed.order_by("created_at", "pk")


def recorded_before(
    config: BackendConfig, cutoff: datetime, task_key: str | None = None
) -> QuerySet[RecurringExecution]:
    """Records of firings made before *cutoff*, the oldest first."""
    records = RecurringExecution.objects.using(config.options.database_alias).filter(
        backend_alias=config.alias, created_at__lt=django_time(cutoff)
    )
    return (records if task_key is None else records.filter(task_key=task_key)).order_by("pk")


def cutoff_at(now: datetime, age: Age) -> datetime:
    """The moment *age* before *now*; for an age of more than all time, the first there is.

    Raises `ValueError` for a negative one.
    """
    span = age if isinstance(age, timedelta) else None
    seconds = span.total_seconds() if span is not None else cast("float", age)
    if not seconds >= 0:
        raise ValueError(f"older_than: expected at least 0 seconds, found {age!r}")
    try:
        return now - timedelta(seconds=seconds)
    except OverflowError:
        return datetime.fromtimestamp(0, tz=now.tzinfo)


def end_of_walk(cutoff: datetime) -> UUID:
    """The id at which a walk for jobs finished before *cutoff* ends: none was enqueued after it ended."""
    return first_id_at(cutoff)


def _cutoff(config: BackendConfig, age: Age, now: datetime | None) -> datetime:
    if now is None:
        now = store_for(config.options.database_alias).now()
    elif timezone.is_naive(now):
        if settings.USE_TZ:
            raise ValueError(f"now: expected an aware date and time, found {now!r}")
        now = timezone.make_aware(now, timezone.get_default_timezone())
    return cutoff_at(now, age)


def _cleared(
    config: BackendConfig,
    kind: Kind,
    age: Age | None,
    now: datetime | None,
    batch_size: int,
    only: str | None,
) -> int:
    """Delete up to *batch_size* rows of *kind* that are older than *age*; None keeps them for ever."""
    _check_size(batch_size)
    if age is None:
        return 0
    rows = kind.before(config, _cutoff(config, age, now), only)

    def clear(database: str, _: object) -> int:
        found: Sequence[Any]
        if rows.model is FailedExecution:
            found = [row.job_id for row in locked(rows, limit=batch_size)]
        else:
            found = list(rows.values_list("pk", flat=True)[:batch_size])
        return kind.remove(database, found) if found else 0

    return _in_transaction(config, clear, ())


def _check_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size: expected a whole number above 0, found {batch_size!r}")


def _in_transaction(
    config: BackendConfig, work: Callable[[str, Sequence[Any]], int], keys: Sequence[Any]
) -> int:
    database = config.options.database_alias
    return in_transaction(database, partial(work, database, keys))


def _remove_failed(database: str, ids: Sequence[UUID]) -> int:
    return remove_jobs(database, ids, FailedExecution)


def _remove_records(database: str, keys: Sequence[int]) -> int:
    return delete_raw(RecurringExecution.objects.using(database).filter(pk__in=keys))


FAILED = Kind(failed_before, _remove_failed)
RECORDS = Kind(recorded_before, _remove_records)
