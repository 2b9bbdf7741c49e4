"""Retry: failed jobs go back to where new jobs go, with the history of their attempts.

A batch is a transaction with a constant number of statements. Failed rows that somebody else holds (who
discards or retries the same jobs) are passed over.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from itertools import batched
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from dj_queue import events
from dj_queue.config import BackendConfig, backend_config
from dj_queue.exceptions import RetryRefused
from dj_queue.ids import read_job_id
from dj_queue.models import FailedExecution, Job
from dj_queue.operations.dispatch import emit_after_commit, place, wake_dispatchers
from dj_queue.operations.locking import in_transaction, locked
from dj_queue.operations.removal import delete_raw
from dj_queue.states import DispatchOutcome
from dj_queue.store import store_for
from dj_queue.store.shared import django_time


class Retried(NamedTuple):
    """What became of a batch of failed jobs."""

    jobs: list[Job]
    """Those that are not failed any more."""
    refused: list[Job]
    """Those that stay failed: their policy is to be discarded while their slots are taken, and they are."""


def retry_one(config: BackendConfig, job: object) -> Job:
    """Try the failed *job* (or the job with that id) again; the job.

    Raises `FailedExecution.DoesNotExist` when it is not failed, `RetryRefused` when its policy would
    discard it because its slots are taken; it stays failed then.
    """
    job_id = read_job_id(job)
    done = _retry(config, failed_jobs(config).filter(job_id=job_id), limit=1)
    if done.refused:
        raise RetryRefused(
            f"job {job_id} was not retried: its policy is on_conflict='discard', and all "
            f"{done.refused[0].concurrency_limit} slots of {done.refused[0].concurrency_key!r} are taken; "
            "it stays failed, try again when one is free"
        )
    if not done.jobs:
        raise FailedExecution.DoesNotExist(
            f"job {job_id} is not failed on backend {config.alias!r}, or somebody else changes it just now"
        )
    return done.jobs[0]


def retry_batch(
    config: BackendConfig, *, job_ids: Iterable[object] | None = None, batch_size: int = 500
) -> Retried:
    """Try up to *batch_size* failed jobs again, the oldest failures first, and only *job_ids* if given."""
    if batch_size < 1:
        raise ValueError(f"batch_size: expected a whole number above 0, found {batch_size!r}")
    failed = failed_jobs(config)
    if job_ids is not None:
        failed = failed.filter(job_id__in=[read_job_id(each) for each in job_ids])
    return _retry(config, failed.order_by("pk"), limit=batch_size)


def retry_each(jobs: Iterable[tuple[str, UUID]], *, batch_size: int = 500) -> int:
    """Try failed jobs again, each given with its backend's alias, in batches; how many were."""
    by_alias: dict[str, list[UUID]] = {}
    for alias, job_id in jobs:
        by_alias.setdefault(alias, []).append(job_id)
    return sum(
        len(retry_batch(backend_config(alias), job_ids=some, batch_size=batch_size).jobs)
        for alias, ids in by_alias.items()
        for some in batched(ids, batch_size)
    )


def schedule_retry(config: BackendConfig, job: object, retry_at: datetime) -> Job:
    """Have the dispatcher retry the failed *job* at *retry_at*; it stays failed until then.

    *retry_at* is aware (naive and local where `USE_TZ` is off); one that has passed means now. Raises
    `FailedExecution.DoesNotExist` when the job is not failed, `ValueError` for a time of the wrong kind.
    """
    job_id, database = read_job_id(job), config.options.database_alias
    if timezone.is_naive(retry_at) and settings.USE_TZ:
        raise ValueError(
            f"retry_at: expected an aware date and time, because USE_TZ is on, found {retry_at!r}"
        )

    def schedule() -> Job:
        failed = failed_jobs(config).filter(job_id=job_id)
        if not failed.update(retry_at=django_time(retry_at)):
            raise FailedExecution.DoesNotExist(
                f"job {job_id} is not failed on backend {config.alias!r}"
            )
        wake_dispatchers(config)
        return Job.objects.using(database).get(pk=job_id)

    return in_transaction(database, schedule)


def retry_due(config: BackendConfig, *, batch_size: int = 500) -> list[Job]:
    """Retry up to *batch_size* jobs whose `retry_at` has come, in that order; those that were retried.

    One that is refused, see `retry_one`, stays failed for good, and an event tells.
    """
    now = store_for(config.options.database_alias).now()
    due = failed_jobs(config).filter(retry_at__lte=django_time(now)).order_by("retry_at", "pk")
    done = _retry(config, due, limit=batch_size)
    return done.jobs


def failed_jobs(config: BackendConfig) -> QuerySet[FailedExecution]:
    """The failed executions of *config*'s backend."""
    failed = FailedExecution.objects.using(config.options.database_alias)
    return failed.filter(job__backend_alias=config.alias)


def _retry(config: BackendConfig, failed: QuerySet[FailedExecution], *, limit: int) -> Retried:
    return in_transaction(
        config.options.database_alias, partial(_retry_locked, config, failed, limit)
    )


def _retry_locked(config: BackendConfig, failed: QuerySet[FailedExecution], limit: int) -> Retried:
    rows = locked(failed.select_related("job"), limit=limit)
    outcomes = place(config, [row.job for row in rows])
    taken: list[FailedExecution] = []
    refused: list[FailedExecution] = []
    for row in rows:
        is_refused = outcomes[row.job_id] is DispatchOutcome.DISCARDED
        (refused if is_refused else taken).append(row)
    _settle(config, taken, refused)
    return Retried([row.job for row in taken], [row.job for row in refused])


def _settle(
    config: BackendConfig, taken: Sequence[FailedExecution], refused: Sequence[FailedExecution]
) -> None:
    database = config.options.database_alias
    if taken:
        delete_raw(_rows(database, taken))
        for row in taken:
            row.job._state.fields_cache.pop("failed_execution", None)  # noqa: SLF001
        jobs = [row.job for row in taken]
        retried = events.JobsRetried(
            config.alias,
            len(jobs),
            tuple(job.pk for job in jobs),
            tuple(job.queue_name for job in jobs),
            tuple(job.trace_context for job in jobs),
        )
        emit_after_commit(database, retried)
    late = [row for row in refused if row.retry_at is not None]
    if late:
        # Due for ever it would be looked at again and again.
        _rows(database, late).update(retry_at=None)
    if refused:
        ids = tuple(row.job_id for row in refused)
        emit_after_commit(database, events.RetriesRefused(config.alias, len(ids), ids))


def _rows(database: str, rows: Collection[FailedExecution]) -> QuerySet[FailedExecution]:
    return FailedExecution.objects.using(database).filter(pk__in=[row.pk for row in rows])
