"""Processes that are gone, and the claims that they left behind."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, cast

from django.db.models import Exists, OuterRef, QuerySet, Subquery

from dj_queue.models import ClaimedExecution, Process
from dj_queue.store.records import Claim, ClaimedJob
from dj_queue.store.shared import claimed_model, django_time, from_column


class LostProcess(NamedTuple):
    """A process that has stopped giving signs of life."""

    name: str
    """Of its supervisor."""
    ids: list[int]
    """Of its rows: the supervisor's and its actors'."""
    seen_at: datetime
    """Its last sign of life, by the database's clock."""


class LostClaim(NamedTuple):
    """A claim whose process is gone."""

    job: ClaimedJob
    process_id: int | None
    process_name: str
    """Of the worker; empty when nobody knows."""
    started_at: datetime | None


def process_ids(database: str, backend_alias: str, name: str) -> list[int]:
    """The rows of the process whose supervisor is called *name*, its actors' included."""
    rows = Process.objects.using(database).filter(backend_alias=backend_alias)
    ids = list(rows.filter(name=name).values_list("id", flat=True))
    return ids and [*ids, *rows.filter(supervisor_id__in=ids).values_list("id", flat=True)]


def silent_processes(
    database: str,
    backend_alias: str,
    *,
    now: datetime,
    threshold: timedelta,
) -> list[LostProcess]:
    """Processes none of whose rows had a sign of life since *threshold* before *now* (database's clock)."""
    families: dict[int, list[Process]] = {}
    for row in Process.objects.using(database).filter(backend_alias=backend_alias).order_by("id"):
        families.setdefault(row.supervisor_id or row.id, []).append(row)
    lost = []
    for rows in families.values():
        seen_at = max(cast("datetime", from_column(row.last_heartbeat_at)) for row in rows)
        if now - seen_at > threshold:
            lost.append(LostProcess(rows[0].name, [row.id for row in rows], seen_at))
    return lost


def claims_of(
    database: str, backend_alias: str, process_ids: Sequence[int], *, limit: int
) -> list[LostClaim]:
    """Up to *limit* claims that belong to one of *process_ids*."""
    return _lost(
        ClaimedExecution.objects.using(database).filter(
            process_id__in=process_ids, job__backend_alias=backend_alias
        ),
        limit,
    )


def claims_named(database: str, backend_alias: str, claims: Collection[Claim]) -> list[LostClaim]:
    """Those of *claims* that are still there."""
    found = ClaimedExecution.objects.using(database).filter(
        job_id__in=[claim.id for claim in claims], job__backend_alias=backend_alias
    )
    return [each for each in _lost(found, len(claims)) if each.job.claim in claims]


def claims_of_nobody(
    database: str, backend_alias: str, *, made_before: datetime, limit: int
) -> list[LostClaim]:
    """Up to *limit* claims *made_before* a moment whose process is not registered (any more)."""
    registered = Process.objects.using(database).filter(id=OuterRef("process_id"))
    return _lost(
        ClaimedExecution.objects.using(database)
        .filter(~Exists(registered))
        .filter(job__backend_alias=backend_alias, created_at__lt=django_time(made_before)),
        limit,
    )


def _lost(claims: QuerySet[ClaimedExecution], limit: int) -> list[LostClaim]:
    # Not select_related("process"): with a condition on process_id that is an inner join, and claims whose
    # process has no row any more would be left out.
    worker = Process.objects.using(claims.db).filter(id=OuterRef("process_id"))
    named = claims.annotate(worker_name=Subquery(worker.values("name")[:1]))
    return [
        LostClaim(
            claimed_model(claim.job, claim.token),
            claim.process_id,
            claim.worker_name or "",
            from_column(claim.started_at),
        )
        for claim in named.select_related("job").order_by("id")[:limit]
    ]
