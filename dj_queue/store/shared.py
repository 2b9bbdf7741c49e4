"""How values look in columns: those of MySQL and SQLite as drivers take them, times as models give them."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypedDict, cast
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from dj_queue.states import DispatchOutcome
from dj_queue.store.records import (
    ClaimedJob,
    Claimer,
    InsertedClaim,
    Limit,
    NewJob,
    Outcome,
    Said,
)

if TYPE_CHECKING:  # A child process imports this before there are apps.
    from dj_queue.models import Job

JOB_COLUMNS = (
    "id, task_path, queue_name, priority, executor, payload, created_at, scheduled_at, worker_ids, "
    "errors, started_at, trace_context, concurrency_key, concurrency_limit, concurrency_duration"
)
"""The columns of a `ClaimedJob` after its token, in the order of its fields (see `claimed_job`)."""


def from_column(value: Any) -> datetime | None:
    """A column's naive date and time as an aware one: UTC, or local where `USE_TZ` is off."""
    if value is None or value.tzinfo is not None:
        return value  # type: ignore[no-any-return]
    if settings.USE_TZ:
        return value.replace(tzinfo=UTC)  # type: ignore[no-any-return]
    return timezone.make_aware(value, timezone.get_default_timezone())


def to_column(moment: datetime | None) -> datetime | None:
    """An aware date and time as these databases store it: naive UTC, or local where `USE_TZ` is off."""
    if moment is None or moment.tzinfo is None:
        return moment
    zone = UTC if settings.USE_TZ else timezone.get_default_timezone()
    return moment.astimezone(zone).replace(tzinfo=None)


def django_time(moment: datetime | None) -> datetime | None:
    """*moment* as Django's models give it: aware, or naive and local where `USE_TZ` is off."""
    if moment is None or settings.USE_TZ or timezone.is_naive(moment):
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())


def seconds(now: datetime, moment: datetime | None) -> float | None:
    """From *now* to a moment, not below 0; None without one."""
    return None if moment is None else max(0.0, (moment - now).total_seconds())


def parsed(text: Any) -> Any:
    """The value of a JSON column."""
    return None if text is None else json.loads(text)


def claimed_job(token: int, row: Sequence[Any]) -> ClaimedJob:
    """The job in a row of `JOB_COLUMNS`, claimed with *token*."""
    return ClaimedJob(
        id=UUID(hex=row[0]),
        token=token,
        task_path=row[1],
        queue_name=row[2],
        priority=row[3],
        executor=row[4],
        payload=parsed(row[5]),
        created_at=cast("datetime", from_column(row[6])),
        scheduled_at=from_column(row[7]),
        worker_ids=parsed(row[8]),
        errors=parsed(row[9]),
        first_started_at=from_column(row[10]),
        trace_context=parsed(row[11]),
        limit=None if row[12] is None else Limit(*row[12:]),
    )


def claimed_model(job: "Job", token: int) -> ClaimedJob:
    """*job* as Django's models have it, claimed with *token*."""
    limit = None
    if job.concurrency_key is not None:
        limit = Limit(
            job.concurrency_key, job.concurrency_limit or 1, job.concurrency_duration or 0
        )
    return ClaimedJob(
        id=job.id,
        token=token,
        task_path=job.task_path,
        queue_name=job.queue_name,
        priority=job.priority,
        executor=job.executor,
        payload=job.payload,
        created_at=cast("datetime", from_column(job.created_at)),
        scheduled_at=from_column(job.scheduled_at),
        worker_ids=job.worker_ids,
        errors=job.errors,
        first_started_at=from_column(job.started_at),
        trace_context=job.trace_context,
        limit=limit,
    )


_INSERT_JOB = """
    INSERT INTO dj_queue_jobs (id, task_path, queue_name, priority, payload, backend_alias, executor,
        trace_context, scheduled_at, created_at, updated_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_IS_PAUSED = "SELECT 1 FROM dj_queue_pauses WHERE backend_alias = %s AND queue_name = %s"
_INSERT_CLAIM = """
    INSERT INTO dj_queue_claimed_executions (job_id, process_id, token, started_at, created_at)
    VALUES (%s, %s, %s, %s, %s)
"""
_INSERT_READY = """
    INSERT INTO dj_queue_ready_executions
        (job_id, backend_alias, queue_name, priority, executor, created_at)
    VALUES (%s, %s, %s, %s, %s, %s)
"""


def insert_claimed(
    cursor: Any, backend_alias: str, job: NewJob, now: datetime, *, process_id: int, token: int
) -> InsertedClaim:
    """Write *job* with a claim, or as ready if its queue is paused; in the caller's transaction."""
    cursor.execute(_INSERT_JOB, job_row(job, backend_alias, now))
    cursor.execute(_IS_PAUSED, (backend_alias, job.queue_name))
    is_paused = cursor.fetchone() is not None
    if is_paused:
        row = execution_row(job, backend_alias, now, DispatchOutcome.READY)
        cursor.execute(_INSERT_READY, row)
    else:
        moment = to_column(now)
        cursor.execute(_INSERT_CLAIM, (job.id.hex, process_id, token, moment, moment))
    return InsertedClaim(now, not is_paused)


def outcome_of(job: NewJob, now: datetime) -> DispatchOutcome:
    """Whether *job*, enqueued at *now*, is ready or has to wait for its time."""
    if job.run_after is not None and job.run_after > now:
        return DispatchOutcome.SCHEDULED
    return DispatchOutcome.READY


def job_row(job: NewJob, backend_alias: str, now: datetime) -> tuple[Any, ...]:
    """A row of the table of jobs: id, task, queue, priority, payload, backend, executor, trace, times."""
    moment = to_column(now)
    return (
        job.id.hex, job.task_path, job.queue_name, job.priority, job.payload, backend_alias,
        int(job.executor), job.trace_context, to_column(job.run_after), moment, moment,
    )  # fmt: skip


def execution_row(
    job: NewJob, backend_alias: str, now: datetime, outcome: DispatchOutcome
) -> tuple[Any, ...]:
    """A row of the table of ready executions, or of scheduled ones with the time at its end."""
    row = (
        job.id.hex, backend_alias, job.queue_name, job.priority, int(job.executor), to_column(now),
    )  # fmt: skip
    return row if outcome is DispatchOutcome.READY else (*row, to_column(job.run_after))


def batches[T](
    items: Sequence[T], weight: Callable[[T], int], *, most_items: int, most_weight: int
) -> Iterator[Sequence[T]]:
    """*items* in order, cut where one more would be too many or too heavy; one alone is never too heavy."""
    first, total = 0, 0
    for place, item in enumerate(items):
        heavy = weight(item)
        if place > first and (place - first == most_items or total + heavy > most_weight):
            yield items[first:place]
            first, total = place, 0
        total += heavy
    if first < len(items):
        yield items[first:]


def worker_ids_text(claimer: Claimer, outcome: Outcome) -> str:
    """The job's `worker_ids` after this attempt."""
    return json.dumps([*(outcome.job.worker_ids or ()), claimer.worker_name])


def errors_text(outcome: Outcome) -> str:
    """The job's `errors` after this failed attempt."""
    return json.dumps([*(outcome.job.errors or ()), error_record(outcome)])


def error_record(outcome: Outcome) -> dict[str, str]:
    """How a failed attempt is kept in the job's history."""
    if outcome.error is None:
        raise ValueError("the attempt did not fail")
    record = {**outcome.error._asdict(), "failed_at": outcome.finished_at.isoformat()}
    return record if outcome.traceparent is None else {**record, "traceparent": outcome.traceparent}


class EndedSlots(TypedDict):
    """What `Slots.settle` is told of jobs that ended."""

    said: list[Said]
    ended: list[UUID]


def ended_slots(outcomes: Iterable[Outcome], rejected: Iterable[UUID]) -> EndedSlots:
    """The slots that outcomes give back, those that were not *rejected*."""
    stale = set(rejected)
    jobs = [
        outcome.job
        for outcome in outcomes
        if outcome.job.limit is not None
        and not outcome.job.limit.is_rate
        and outcome.job.id not in stale
    ]
    said = [Said(*job.limit, job.created_at) for job in jobs if job.limit is not None]
    return EndedSlots(said=said, ended=[job.id for job in jobs])


def said_of(row: Sequence[Any]) -> Said:
    """What the job in a row of key, limit, duration and `created_at` says."""
    return Said._make([*row[:3], cast("datetime", from_column(row[3]))])


def distinct_queues(rows: Iterable[Sequence[Any]], column: int) -> tuple[str, ...]:
    """The queue names in *column* of *rows*, once each, in order of appearance."""
    return tuple(dict.fromkeys(row[column] for row in rows))
