"""A queue without workers: jobs are claimed and recorded on the calling thread's connection, one at a time.

For tests, which see nothing of a transaction but from inside of it. What sessions of the runtime do in four
dialects on connections of their own is done here with the ORM, in the caller's transaction if there is one.
"""

import json
from datetime import datetime, timedelta
from typing import Any, cast

from django.db import connections, transaction

from dj_queue.config import BackendConfig
from dj_queue.ids import new_token
from dj_queue.models import (
    BlockedExecution,
    ClaimedExecution,
    FailedExecution,
    Job,
    Pause,
    ReadyExecution,
    ScheduledExecution,
)
from dj_queue.operations.retry import retry_batch
from dj_queue.selectors import QueueSelection
from dj_queue.store import store_for
from dj_queue.store.records import ClaimedJob, Outcome
from dj_queue.store.shared import claimed_model, django_time, ended_slots, error_record

_KEYS_AT_ONCE = 1000


class InlineQueue:
    """The jobs of one backend. Times are given: what is due is for the caller to say."""

    def __init__(self, config: BackendConfig, worker_name: str) -> None:
        """*worker_name* is noted with every attempt."""
        self._config = config
        self._database = config.options.database_alias
        self._worker_name = worker_name

    def prepare(self, now: datetime) -> None:
        """Make ready what may run at *now*: scheduled jobs and retries that are due, and free slots' jobs."""
        with transaction.atomic(using=self._database):
            self._promote_due(now)
            self._retry_due(now)
            self._fill_slots()

    def ready(self, selection: QueueSelection) -> list[int]:
        """The ready rows of *selection*, the best first; those of paused queues are left out."""
        pauses = Pause.objects.using(self._database).filter(backend_alias=self._config.alias)
        paused = set(pauses.values_list("queue_name", flat=True))
        rows = list(
            ReadyExecution.objects.using(self._database)
            .filter(backend_alias=self._config.alias)
            .order_by("-priority", "id")
            .values_list("id", "queue_name")
        )
        chosen: dict[int, None] = {}
        for selector in selection.selectors:
            matching = (row for row in rows if selector.matches(row[1]) and row[1] not in paused)
            chosen |= dict.fromkeys(key for key, _ in matching)
        return list(chosen)

    def claim(self, key: int, now: datetime) -> ClaimedJob | None:
        """Claim the ready row *key*; None when it is gone."""
        rows = ReadyExecution.objects.using(self._database).filter(pk=key)
        with transaction.atomic(using=self._database):
            row = rows.select_related("job").first()
            if row is None or not rows.delete()[0]:
                return None
            token, moment = new_token(), cast("datetime", django_time(now))
            ClaimedExecution.objects.using(self._database).create(
                job=row.job, token=token, started_at=moment, created_at=moment
            )
            return claimed_model(row.job, token)

    def record(self, outcome: Outcome) -> Job | None:
        """Record how a claimed job ended, and hand its slot on; the job, or None if it is not ours now.

        Where finished jobs are not kept, the job that is returned is not in the database any more.
        """
        claims = ClaimedExecution.objects.using(self._database)
        mine = claims.filter(job_id=outcome.job.id, token=outcome.job.token)
        with transaction.atomic(using=self._database):
            if not mine.delete()[0]:
                return None
            job = self._noted(outcome)
            if (slots := ended_slots([outcome], []))["ended"]:
                with connections[self._database].cursor() as cursor:
                    store_for(self._database).slots(cursor).settle(**slots)
            if outcome.error is None and not self._config.options.preserve_finished_jobs:
                Job.objects.using(self._database).filter(pk=job.pk).delete()
        return job

    def _noted(self, outcome: Outcome) -> Job:
        job = Job.objects.using(self._database).get(pk=outcome.job.id)
        started_at = django_time(outcome.started_at)
        finished_at = cast("datetime", django_time(outcome.finished_at))
        job.worker_ids = [*(job.worker_ids or ()), self._worker_name]
        job.started_at = job.started_at or started_at
        job.last_attempted_at = started_at
        job.updated_at = finished_at
        if outcome.error is None:
            job.finished_at = finished_at
            job.return_value = None if outcome.result is None else json.loads(outcome.result)
        else:
            job.errors = [*(job.errors or ()), error_record(outcome)]
            FailedExecution.objects.using(self._database).create(
                job=job, created_at=finished_at, **outcome.error._asdict()
            )
        job.save(using=self._database)
        return job

    def _promote_due(self, now: datetime) -> None:
        scheduled = ScheduledExecution.objects.using(self._database)
        due = list(
            scheduled.filter(backend_alias=self._config.alias, scheduled_at__lte=django_time(now))
            .order_by("scheduled_at", "-priority", "id")
            .select_related("job")
        )
        ReadyExecution.objects.using(self._database).bulk_create(
            ReadyExecution(**_common(row)) for row in due if not row.concurrency_key
        )
        limited = [row for row in due if row.concurrency_key]
        BlockedExecution.objects.using(self._database).bulk_create(
            _blocked(row, now) for row in limited
        )
        scheduled.filter(pk__in=[row.pk for row in due]).delete()

    def _retry_due(self, now: datetime) -> None:
        failed = FailedExecution.objects.using(self._database).filter(
            job__backend_alias=self._config.alias, retry_at__lte=django_time(now)
        )
        if due := list(failed.values_list("job_id", flat=True)):
            retry_batch(self._config, job_ids=due, batch_size=len(due))

    def _fill_slots(self) -> None:
        """Hand out free slots. In a transaction nothing else does: usually it is done after the commit."""
        if not BlockedExecution.objects.using(self._database).exists():
            return
        with connections[self._database].cursor() as cursor:
            slots = store_for(self._database).slots(cursor)
            last: str | None = ""
            while last is not None:
                due = slots.due(last, _KEYS_AT_ONCE)
                slots.settle(due.said)
                last = due.last


def _common(row: ScheduledExecution) -> dict[str, Any]:
    names = ("job_id", "backend_alias", "queue_name", "priority", "executor")
    return {name: getattr(row, name) for name in names}


def _blocked(row: ScheduledExecution, now: datetime) -> BlockedExecution:
    wait = timedelta(seconds=row.job.concurrency_duration or 0)
    return BlockedExecution(
        **_common(row),
        concurrency_key=row.concurrency_key or "",
        waits=row.job.concurrency_on_conflict != "discard",
        expires_at=cast("datetime", django_time(now + wait)),
    )
