"""Scheduled jobs that start when they are due, or earlier because somebody says so."""

from collections.abc import Iterable, Sequence
from functools import partial

from django.db.models import QuerySet

from dj_queue.config import BackendConfig
from dj_queue.exceptions import EnqueueError
from dj_queue.ids import read_job_id
from dj_queue.models import Job, ScheduledExecution
from dj_queue.operations.dispatch import finish_discarded, place
from dj_queue.operations.locking import in_transaction, locked
from dj_queue.operations.removal import delete_raw
from dj_queue.states import DispatchOutcome, JobState
from dj_queue.store import store_for
from dj_queue.store.shared import django_time


def start_now(config: BackendConfig, job: object) -> tuple[Job, DispatchOutcome]:
    """Have the scheduled *job* (or the job with that id) wait for its time no longer; where it went.

    Raises `EnqueueError` when it is not scheduled.
    """
    job_id = read_job_id(job)
    for started, outcome in _start(config, scheduled_jobs(config).filter(job_id=job_id), limit=1):
        return started, _settled(started, outcome)
    raise EnqueueError(
        f"job {job_id} is not scheduled on backend {config.alias!r}, or becomes ready just now"
    )


def start_batch(config: BackendConfig, job_ids: Iterable[object]) -> list[Job]:
    """Have those of *job_ids* that are scheduled wait for their time no longer; those jobs."""
    ids = [read_job_id(each) for each in job_ids]
    some = scheduled_jobs(config).filter(job_id__in=ids)
    in_order = some.order_by("scheduled_at", "-priority", "pk")
    return [job for job, _ in _start(config, in_order, limit=max(1, len(ids)))]


def start_due(config: BackendConfig, *, batch_size: int) -> list[Job]:
    """Make up to *batch_size* jobs ready whose time has come, as the dispatcher does; those jobs."""
    if batch_size < 1:
        raise ValueError(f"batch_size: expected a whole number above 0, found {batch_size!r}")
    now = store_for(config.options.database_alias).now()
    due = scheduled_jobs(config).filter(scheduled_at__lte=django_time(now))
    in_order = due.order_by("scheduled_at", "-priority", "pk")
    return [job for job, _ in _start(config, in_order, limit=batch_size)]


def scheduled_jobs(config: BackendConfig) -> QuerySet[ScheduledExecution]:
    """The scheduled executions of *config*'s backend."""
    scheduled = ScheduledExecution.objects.using(config.options.database_alias)
    return scheduled.filter(backend_alias=config.alias)


def _start(
    config: BackendConfig, scheduled: QuerySet[ScheduledExecution], *, limit: int
) -> Sequence[tuple[Job, DispatchOutcome]]:
    return in_transaction(
        config.options.database_alias, partial(_start_locked, config, scheduled, limit)
    )


def _start_locked(
    config: BackendConfig, scheduled: QuerySet[ScheduledExecution], limit: int
) -> Sequence[tuple[Job, DispatchOutcome]]:
    database = config.options.database_alias
    rows = locked(scheduled, limit=limit)
    if not rows:
        return ()
    found = Job.objects.using(database).in_bulk([row.job_id for row in rows])
    jobs = [found[row.job_id] for row in rows if row.job_id in found]
    delete_raw(ScheduledExecution.objects.using(database).filter(pk__in=[row.pk for row in rows]))
    outcomes = place(config, jobs, at_once=True)
    finish_discarded(config, jobs, outcomes)
    return [(job, outcomes[job.id]) for job in jobs]


def _settled(job: Job, outcome: DispatchOutcome) -> DispatchOutcome:
    """Where *job* is, with slots handed out if there was no transaction of the caller to wait for."""
    is_ready = outcome is DispatchOutcome.BLOCKED and job.status is JobState.READY
    return DispatchOutcome.READY if is_ready else outcome
