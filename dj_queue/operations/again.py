"""A fresh copy of a stored job."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import cast
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from dj_queue.config import BackendConfig
from dj_queue.ids import new_job_id, new_job_ids, read_job_id
from dj_queue.models import Job
from dj_queue.operations.dispatch import ROWS_PER_STATEMENT, finish_discarded, place
from dj_queue.operations.locking import in_transaction
from dj_queue.store import store_for
from dj_queue.store.shared import django_time

# What was asked for; all else is what came of it.
_COPIED = (
    "task_path", "queue_name", "priority", "payload", "backend_alias", "executor", "scheduled_at",
    "concurrency_key", "concurrency_limit", "concurrency_duration", "concurrency_on_conflict",
    "retry_policy",
)  # fmt: skip


def enqueue_again(config: BackendConfig, job: object, *, run_after: datetime | None) -> Job:
    """Enqueue a copy of *job* (or of the job with that id) in whatever state that is; the copy.

    Raises `Job.DoesNotExist`, and `ValueError` for a *run_after* without a zone where `USE_TZ` is on.
    """
    if run_after is not None and settings.USE_TZ and timezone.is_naive(run_after):
        raise ValueError(
            f"run_after: expected an aware date and time, because USE_TZ is on, found {run_after!r}"
        )
    work = partial(_copy, config, read_job_id(job), run_after)
    return in_transaction(config.options.database_alias, work)


def enqueue_copies(config: BackendConfig, jobs: Iterable[object]) -> list[Job]:
    """Enqueue a copy of each of *jobs* (or of the jobs with those ids) that there is; the copies.

    In their order of age, in a constant number of statements for up to 1000.
    """
    ids = [read_job_id(each) for each in jobs]
    return in_transaction(config.options.database_alias, partial(_copies, config, ids))


def _copies(config: BackendConfig, ids: Sequence[UUID]) -> list[Job]:
    database = config.options.database_alias
    rows = Job.objects.using(database).filter(pk__in=ids, backend_alias=config.alias)
    sources = list(rows.order_by("pk"))
    now = cast("datetime", django_time(store_for(database).now()))
    copies = [
        Job(
            **{name: getattr(source, name) for name in _COPIED},
            id=new_id,
            created_at=now,
            updated_at=now,
        )
        for source, new_id in zip(sources, new_job_ids(len(sources)), strict=True)
    ]
    Job.objects.using(database).bulk_create(copies, batch_size=ROWS_PER_STATEMENT)
    finish_discarded(config, copies, place(config, copies))
    return copies


def _copy(config: BackendConfig, job_id: UUID, run_after: datetime | None) -> Job:
    database = config.options.database_alias
    source = Job.objects.using(database).get(pk=job_id, backend_alias=config.alias)
    copy = Job(**{name: getattr(source, name) for name in _COPIED}, id=new_job_id())
    if run_after is not None:
        copy.scheduled_at = run_after
    copy.created_at = copy.updated_at = cast("datetime", django_time(store_for(database).now()))
    copy.save(using=database, force_insert=True)
    finish_discarded(config, [copy], place(config, [copy]))
    return copy
