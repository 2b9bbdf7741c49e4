"""Records for the tests of the stores: jobs to insert and outcomes to record, short to write."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from dj_queue.ids import new_job_id
from dj_queue.models import Job
from dj_queue.states import Executor
from dj_queue.store import Session, Store
from dj_queue.store.records import ClaimedJob, Claimer, JobError, NewJob, Outcome, Room

NO_ROOM = Room(0, 0)
PLENTY = Room(1000, 1000)

STARTED = datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=UTC)
FINISHED = STARTED + timedelta(milliseconds=1500)


def new_job(queue: str = "default", **fields: Any) -> NewJob:
    """A job as `enqueue` would write it."""
    arguments = fields.pop("args", [1, "two"])
    given = {
        "id": new_job_id(),
        "task_path": "tests.site.tasks.add",
        "queue_name": queue,
        "priority": 0,
        "executor": Executor.THREAD,
        "payload": json.dumps({"args": arguments, "kwargs": {}}, ensure_ascii=False),
        "run_after": None,
    }
    return NewJob(**{**given, **fields})


def insert(store: Store, *jobs: NewJob, backend: str = "default") -> list[NewJob]:
    """Write *jobs*, which are given back."""
    store.insert(backend, jobs)
    return list(jobs)


def claim(session: Session, claimer: Claimer, room: Room | int = PLENTY) -> list[ClaimedJob]:
    """Claim; a number is the room for threads."""
    wanted = Room(room, 0) if isinstance(room, int) else room
    return list(session.exchange(claimer, (), wanted).claimed)


def succeeded(job: ClaimedJob, result: Any = None, **fields: Any) -> Outcome:
    """An attempt that returned *result*."""
    text = None if result is None else json.dumps(result, ensure_ascii=False)
    return Outcome(
        **{"job": job, "started_at": STARTED, "finished_at": FINISHED, "result": text, **fields}
    )


def failed(job: ClaimedJob, message: str = "no luck", **fields: Any) -> Outcome:
    """An attempt that raised `ValueError`."""
    error = JobError("builtins.ValueError", message, f"Traceback\nValueError: {message}")
    return Outcome(
        **{"job": job, "started_at": STARTED, "finished_at": FINISHED, "error": error, **fields}
    )


def ids(jobs: Sequence[NewJob | ClaimedJob]) -> list[Any]:
    """The ids of *jobs*, in their order."""
    return [job.id for job in jobs]


def stored(job: NewJob | ClaimedJob) -> Job:
    """The row of *job* as it is now."""
    return Job.objects.get(pk=job.id)


def status(job: NewJob | ClaimedJob) -> str | None:
    """Where *job* is now."""
    return stored(job).status


def database_clock() -> datetime:
    """The time by the clock of the database."""
    statement = {
        "postgresql": "SELECT clock_timestamp()",
        "mysql": "SELECT UTC_TIMESTAMP(6)",
    }.get(connection.vendor)
    if statement is None:
        return datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute(statement)
        now: datetime = cursor.fetchone()[0]
    return now if now.tzinfo else now.replace(tzinfo=UTC)
