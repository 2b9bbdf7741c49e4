"""Jobs page by page, in the order of an index, looking at a bounded number of rows.

`dj_queue_jobs` has no index but its key, so jobs in a live state are asked of the tables of executions, and
finished ones are met by walking the key backwards. A filter that no index serves is applied to the next
`WINDOW` rows; when these are used up the page says so, and goes on from there if somebody wants it to.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from dj_queue.admin.queries import keyset
from dj_queue.admin.queries.filters import ALL, JobFilter, moment
from dj_queue.config import BackendConfig
from dj_queue.models import (
    BlockedExecution,
    ClaimedExecution,
    FailedExecution,
    Job,
    ReadyExecution,
    ScheduledExecution,
)
from dj_queue.states import JobState

WINDOW = 5000
"""How many rows are looked at for one page."""

PAGE = 50

_RELATED = (
    "ready_execution",
    "scheduled_execution",
    "claimed_execution__process",
    "blocked_execution",
    "failed_execution",
)
_HEAVY = ("payload", "return_value", "errors", "retry_policy", "failed_execution__traceback")


@dataclass(frozen=True)
class Source:
    """A table that is asked for jobs in one state."""

    model: type[Any]
    order: tuple[str, ...]
    """Of an index, the key last."""
    columns: Mapping[str, str]
    """Where a row has what `JobFilter.matches` looks at, by its names there."""
    indexed: Mapping[str, str] = field(default_factory=dict)
    """Filters that an index serves in this order, and their columns."""
    job_id: str = "job_id"


_COMMON = {"task": "job__task_path", "created": "job__created_at"}
_OWN = {"backend": "backend_alias", "queue": "queue_name", "priority": "priority", **_COMMON}
_JOINED = {
    "backend": "job__backend_alias",
    "queue": "job__queue_name",
    "priority": "job__priority",
    **_COMMON,
}
_KEY = {"key": "job__concurrency_key"}
_JOBS = {
    "backend": "backend_alias",
    "queue": "queue_name",
    "priority": "priority",
    "task": "task_path",
    "created": "created_at",
    "key": "concurrency_key",
    "finished": "finished_at",
}

SOURCES: dict[str, Source] = {
    JobState.READY: Source(
        ReadyExecution,
        ("executor", "-priority", "id"),
        _OWN | _KEY,
        {"backend": "backend_alias", "queue": "queue_name"},
    ),
    JobState.SCHEDULED: Source(
        ScheduledExecution,
        ("scheduled_at", "-priority", "id"),
        _OWN | _KEY,
        {"backend": "backend_alias"},
    ),
    JobState.BLOCKED: Source(
        BlockedExecution,
        ("concurrency_key", "-priority", "id"),
        _OWN | {"key": "concurrency_key"},
        {"key": "concurrency_key"},
    ),
    JobState.CLAIMED: Source(
        ClaimedExecution, ("id",), _JOINED | _KEY | {"worker": "process__name"}
    ),
    JobState.FAILED: Source(
        FailedExecution,
        ("-created_at", "-id"),
        _JOINED | _KEY | {"error": "exception_class"},
    ),
    JobState.FINISHED: Source(Job, ("-id",), _JOBS, job_id="id"),
    ALL: Source(Job, ("-id",), _JOBS, job_id="id"),
}


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, and where the next page begins."""

    rows: list["JobRow"]
    after: str
    """For the address of the next page; empty when there is none."""
    looked_at: int
    """Rows that were looked at; fewer matched."""
    is_window_used_up: bool
    """Whether there may be more matching rows than the page has room left for, further on."""


def job_page(config: BackendConfig, wanted: JobFilter, after: str = "") -> JobPage:
    """The page of jobs after the cursor in *after*; mostly two or three statements, never ten."""
    if wanted.id:
        return _single(config, wanted)
    source = SOURCES[wanted.state]
    cursor = keyset.read(after, source.model, source.order)
    rows = _rows(config, source, wanted)
    found: list[dict[str, Any]] = []
    looked_at, is_end = 0, False
    for limit in _limits(found):
        batch = keyset.rows_after(
            rows, source.order, list(_columns(source, wanted).values()), cursor, limit
        )
        is_end = len(batch) < limit
        for row in batch:
            if len(found) == PAGE:
                is_end = False
                break
            looked_at += 1
            cursor = keyset.cursor_of(row, source.order)
            if _matches(config, source, wanted, row):
                found.append(row)
        if len(found) == PAGE or is_end:
            break
    return JobPage(
        _loaded(config, [row[source.job_id] for row in found]),
        "" if is_end or cursor is None else keyset.written(cursor),
        looked_at,
        is_window_used_up=not is_end and len(found) < PAGE,
    )


def _limits(found: Sequence[object]) -> Iterator[int]:
    """How many rows to look at each time, until *found*, which grows meanwhile, is full.

    At first twice a page; then, by how many of those matched, what should fill the page; and then all that
    may be looked at: most filters match one of a few, and reading 5000 rows for them is ten times the work.
    """
    yield 2 * PAGE
    if found:
        needed = 2 * PAGE * (PAGE - len(found)) * 2 // len(found)
        if needed < WINDOW // 2:
            yield max(PAGE, needed)
    yield WINDOW


def matching_ids(
    config: BackendConfig, wanted: JobFilter, *, after: int, up_to: int, limit: int
) -> tuple[list[UUID], int, int]:
    """Of the next *limit* rows with keys above *after*: matching jobs, the last key, how many were looked at.

    In the order of the keys, for actions that walk a live state from end to end.
    """
    source = SOURCES[wanted.state]
    rows = _of_key(_rows(config, source, wanted).filter(pk__gt=after, pk__lte=up_to), wanted)
    batch = keyset.rows_after(rows, ("id",), list(_columns(source, wanted).values()), None, limit)
    ids = [row[source.job_id] for row in batch if _matches(config, source, wanted, row)]
    return ids, batch[-1]["id"] if batch else up_to, len(batch)


def last_key(config: BackendConfig, state: str) -> int:
    """The highest key of the table of a live state, whatever the backend."""
    model = SOURCES[state].model
    keys = model.objects.using(config.options.database_alias).order_by("-pk")
    return int(keys.values_list("pk", flat=True).first() or 0)


def _rows(config: BackendConfig, source: Source, wanted: JobFilter) -> QuerySet[Any]:
    rows: QuerySet[Any] = source.model.objects.using(config.options.database_alias)
    values = {"backend": config.alias, "queue": wanted.queue, "key": wanted.key}
    rows = rows.filter(
        **{column: values[name] for name, column in source.indexed.items() if values[name]}
    )
    if source.model is not Job:
        return rows
    # The key is made of the time, so a time is a place in it.
    if since := moment(wanted.since):
        rows = rows.filter(pk__gte=_first_id(since))
    if until := moment(wanted.until):
        rows = rows.filter(pk__lt=_first_id(until))
    return rows


def _of_key(rows: QuerySet[Any], wanted: JobFilter) -> QuerySet[Any]:
    return (
        rows.filter(job__recurring_execution__task_key=wanted.recurring)
        if wanted.recurring
        else rows
    )


def _columns(source: Source, wanted: JobFilter) -> dict[str, str]:
    columns = dict(source.columns)
    if wanted.recurring:
        prefix = "" if source.model is Job else "job__"
        columns["recurring"] = f"{prefix}recurring_execution__task_key"
    return columns | {"job_id": source.job_id}


def _matches(
    config: BackendConfig, source: Source, wanted: JobFilter, row: Mapping[str, Any]
) -> bool:
    named = {name: row[path] for name, path in _columns(source, wanted).items()}
    if named["backend"] != config.alias:
        return False
    if wanted.state == JobState.FINISHED and named["finished"] is None:
        return False
    return wanted.matches(named)


def _single(config: BackendConfig, wanted: JobFilter) -> JobPage:
    rows = _loaded(config, [wanted.job_id]) if wanted.job_id else []
    shown = [row for row in rows if row.job.backend_alias == config.alias]
    shown = [row for row in shown if wanted.state in (ALL, row.state)]
    return JobPage(shown, "", len(rows), is_window_used_up=False)


def _loaded(config: BackendConfig, ids: Sequence[UUID]) -> list["JobRow"]:
    """The jobs with *ids* in that order, in one statement."""
    if not ids:
        return []
    jobs = (
        Job.objects.using(config.options.database_alias)
        .select_related(*_RELATED)
        .defer(*_HEAVY)
        .in_bulk(ids)
    )
    return [JobRow(jobs[each]) for each in ids if each in jobs]


def _first_id(at: datetime) -> UUID:
    """Below every id that is made from *at* on."""
    aware = timezone.make_aware(at) if timezone.is_naive(at) else at
    return UUID(int=int(aware.timestamp() * 1000) << 80)


class JobRow:
    """A job with its executions loaded, and what a list shows of it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.state = str(job.status or "")
        self.claim: ClaimedExecution | None = getattr(job, "claimed_execution", None)
        self.failure: FailedExecution | None = getattr(job, "failed_execution", None)
        self.scheduled: ScheduledExecution | None = getattr(job, "scheduled_execution", None)
        self.blocked: BlockedExecution | None = getattr(job, "blocked_execution", None)

    @property
    def attempts(self) -> int:
        """Attempts that ended or run."""
        return len(self.job.worker_ids or ()) + (self.claim is not None)

    @property
    def worker(self) -> str:
        """Who runs it, or ran it last."""
        if self.claim is not None and self.claim.process is not None:
            return self.claim.process.name
        return str((self.job.worker_ids or [""])[-1] or "")

    @property
    def worker_label(self) -> str:
        """The part of the worker's name that people tell workers apart by."""
        return self.worker.rpartition(":")[0] or self.worker

    @property
    def started_at(self) -> datetime | None:
        """When the newest attempt began."""
        return self.claim.started_at if self.claim is not None else self.job.last_attempted_at

    @property
    def ended_at(self) -> datetime | None:
        """When the newest attempt ended."""
        if self.job.finished_at is not None:
            return self.job.finished_at
        return self.failure.created_at if self.failure is not None else None

    @property
    def duration(self) -> float | None:
        """Seconds that the newest attempt took; None while it runs and before the first."""
        if self.started_at is None or self.ended_at is None or self.claim is not None:
            return None
        return max(0.0, (self.ended_at - self.started_at).total_seconds())

    @property
    def wait(self) -> float | None:
        """Seconds from when the job could run to its first attempt."""
        started = self.job.started_at or self.started_at
        if started is None:
            return None
        could = max(self.job.created_at, self.job.scheduled_at or self.job.created_at)
        return max(0.0, (started - could).total_seconds())

    @property
    def short_task(self) -> str:
        """The last part of the task's path."""
        return self.job.task_path.rpartition(".")[2]

    @property
    def short_error(self) -> str:
        """The last part of the path of the error's class."""
        return self.failure.exception_class.rpartition(".")[2] if self.failure is not None else ""
