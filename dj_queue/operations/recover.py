"""Claims of processes that are gone, or that came back under another number."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import batched
from typing import cast

from django.db import transaction
from django.db.models import F

from dj_queue.models import ClaimedExecution, Job, ReadyExecution
from dj_queue.operations import limits
from dj_queue.store import store_for
from dj_queue.store.records import Claim, Outcome
from dj_queue.store.shared import django_time, error_record


def requeue(
    database: str, backend_alias: str, lost: Sequence[tuple[str, Outcome]]
) -> list[Outcome]:
    """Record failed attempts and make their jobs ready again, in one transaction.

    Those with a rate limit wait for their turn again.

    *lost*: the name of the worker of each attempt, and how it ended. Returns those that were still
    claimed as their outcome says; nothing is done about the others.
    """
    if not lost:
        return []
    with transaction.atomic(using=database):
        held = _locked(database, [outcome for _, outcome in lost])
        ours = [(worker, outcome) for worker, outcome in lost if outcome.job.claim in held]
        jobs = Job.objects.using(database).in_bulk([outcome.job.id for _, outcome in ours])
        for worker, outcome in ours:
            if (job := jobs.get(outcome.job.id)) is not None:
                _note_attempt(job, worker, outcome)
        Job.objects.using(database).bulk_update(
            jobs.values(),
            ["worker_ids", "errors", "started_at", "last_attempted_at", "updated_at"],
        )
        ClaimedExecution.objects.using(database).filter(
            pk__in=[held[outcome.job.claim] for _, outcome in ours]
        ).delete()
        store = store_for(database)
        ready = [job for job in jobs.values() if not limits.has_rate(job)]
        ReadyExecution.objects.using(database).bulk_create(
            ReadyExecution(
                job=job,
                backend_alias=job.backend_alias,
                queue_name=job.queue_name,
                priority=job.priority,
                executor=job.executor,
            )
            for job in ready
        )
        if rated := [job for job in jobs.values() if limits.has_rate(job)]:
            # A start that the limit has counted does not count for two.
            limits.place(database, rated, store.now())
        queues = tuple(sorted({job.queue_name for job in ready}))
        store.announce_ready(backend_alias, queues)
    return [outcome for _, outcome in ours]


def adopt(database: str, moved: Mapping[int, int], begun: Collection[Claim]) -> None:
    """Hand claims on from old rows of a process to new ones: it was taken for dead, and is not.

    *moved*: from old ids to new ones, the supervisor's first. *begun* are jobs that run in it, whose claims
    have lost their process altogether when the rows were deleted by way of the models.
    """
    claims = ClaimedExecution.objects.using(database)
    for old, new in moved.items():
        claims.filter(process_id=old).update(process_id=new)
    for some in batched(begun, 500) if moved else ():
        claims.filter(
            process_id__isnull=True,
            job_id__in=[claim.id for claim in some],
            token__in={claim.token for claim in some},
        ).update(process_id=next(iter(moved.values())))


def _locked(database: str, outcomes: Sequence[Outcome]) -> dict[tuple[object, int], int]:
    """Those claims of *outcomes* that are still there, locked; the key of each row."""
    claims = ClaimedExecution.objects.using(database).filter(
        job_id__in=[outcome.job.id for outcome in outcomes],
        token__in={outcome.job.token for outcome in outcomes},
    )
    # Writes before it reads, which takes the rows' locks everywhere, and SQLite's one lock.
    claims.update(token=F("token"))
    return {(claim.job_id, claim.token): claim.pk for claim in claims}


def _note_attempt(job: Job, worker: str, outcome: Outcome) -> None:
    started_at = django_time(outcome.started_at)
    job.worker_ids = [*(job.worker_ids or ()), worker]
    job.errors = [*(job.errors or ()), error_record(outcome)]
    job.started_at = job.started_at or started_at
    job.last_attempted_at = started_at
    job.updated_at = cast("datetime", django_time(outcome.finished_at))
