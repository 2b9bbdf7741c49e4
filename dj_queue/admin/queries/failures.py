"""Failed jobs that are the same failure: two thousand rows are mostly three errors."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from django.db import connections

from dj_queue.config import BackendConfig
from dj_queue.models import FailedExecution
from dj_queue.reads.moments import read_moment, write_moment
from dj_queue.wording import Count

WINDOW = 2000
"""Failed jobs that are looked at, the newest; each costs a look at its job."""


@dataclass(slots=True)
class FailureGroup:
    """Failed jobs of one task with the same class of error."""

    error: str
    task_path: str
    count: int = 0
    last_hour: int = 0
    last_day: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    newest: int = 0
    """The key of the row of the newest one."""
    sample: Any = None
    """The id of that job, where somebody asked (`find_samples`)."""
    queues: set[str] = field(default_factory=set)

    @property
    def short_error(self) -> str:
        """The last part of the class's path."""
        return self.error.rpartition(".")[2] or self.error

    @property
    def short_task(self) -> str:
        """The last part of the task's path."""
        return self.task_path.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class FailureCount:
    """Failed jobs with the same error, task and queue."""

    error: str
    task_path: str
    queue_name: str
    count: int
    last_hour: int
    last_day: int
    first_at: datetime
    last_at: datetime
    newest: int
    """The key of the row of the newest one."""


@dataclass(frozen=True, slots=True)
class Failures:
    """The newest failed jobs of a backend, `WINDOW` at the most, counted by the database."""

    counts: list[FailureCount]
    is_capped: bool
    """Whether there are more than were looked at."""

    @property
    def total(self) -> int:
        """How many were looked at."""
        return min(WINDOW, sum(each.count for each in self.counts))

    @property
    def by_queue(self) -> dict[str, Count]:
        """How many there are in each queue."""
        numbers: dict[str, int] = {}
        for each in self.counts:
            numbers[each.queue_name] = numbers.get(each.queue_name, 0) + each.count
        return {
            name: Count(min(number, WINDOW), is_capped=self.is_capped)
            for name, number in numbers.items()
        }

    @property
    def last_hour(self) -> int:
        """How many of them failed in the last hour."""
        return sum(each.last_hour for each in self.counts)

    @property
    def last_day(self) -> int:
        """How many of them failed in the last 24 hours."""
        return sum(each.last_day for each in self.counts)


def read_failures(config: BackendConfig, now: datetime) -> Failures:
    """The newest failed jobs by error, task and queue. One statement, of which sums alone are sent."""
    database = config.options.database_alias
    hour, day = (write_moment(database, now - timedelta(hours=hours)) for hours in (1, 24))
    with connections[database].cursor() as cursor:
        cursor.execute(_NEWEST.format(limit=WINDOW + 1), [hour, day])
        rows = cursor.fetchall()
    mine = [_count(database, row[1:]) for row in rows if row[0] == config.alias]
    return Failures(mine, sum(row[4] for row in rows) > WINDOW)


def grouped(failures: Iterable[FailureCount]) -> list[FailureGroup]:
    """*failures* by error and task, the most frequent first."""
    groups: dict[tuple[str, str], FailureGroup] = {}
    for each in sorted(failures, key=lambda one: (one.last_at, one.newest)):
        key = (each.error, each.task_path)
        group = groups.setdefault(key, FailureGroup(*key))
        group.count += each.count
        group.last_hour += each.last_hour
        group.last_day += each.last_day
        group.first_at = min(each.first_at, group.first_at or each.first_at)
        group.last_at, group.newest = each.last_at, each.newest
        group.queues.add(each.queue_name)
    # Those with the same count in one order, whatever the database's, so that a refresh moves nothing.
    return sorted(groups.values(), key=lambda group: (-group.count, group.error, group.task_path))


def find_samples(database: str, groups: Iterable[FailureGroup]) -> None:
    """Give each of *groups* its sample. One statement."""
    by_key = {group.newest: group for group in groups}
    if not by_key:
        return
    rows = FailedExecution.objects.using(database).filter(pk__in=list(by_key))
    for key, job_id in rows.values_list("pk", "job_id"):
        by_key[key].sample = job_id


_NEWEST = """
    SELECT jobs.backend_alias, failed.exception_class, jobs.task_path, jobs.queue_name, COUNT(*),
        SUM(CASE WHEN failed.created_at > %s THEN 1 ELSE 0 END),
        SUM(CASE WHEN failed.created_at > %s THEN 1 ELSE 0 END),
        MIN(failed.created_at), MAX(failed.created_at), MAX(failed.id)
    FROM (
        SELECT id, job_id, exception_class, created_at FROM dj_queue_failed_executions
        ORDER BY created_at DESC, id DESC LIMIT {limit}
    ) failed JOIN dj_queue_jobs jobs ON jobs.id = failed.job_id
    GROUP BY jobs.backend_alias, failed.exception_class, jobs.task_path, jobs.queue_name
"""


def _count(database: str, row: tuple[Any, ...]) -> FailureCount:
    error, task_path, queue_name, count, last_hour, last_day, first_at, last_at, newest = row
    return FailureCount(
        error,
        task_path,
        queue_name,
        int(count),
        # MySQL adds integers up to decimals.
        int(last_hour),
        int(last_day),
        cast("datetime", read_moment(database, first_at)),
        cast("datetime", read_moment(database, last_at)),
        newest,
    )
