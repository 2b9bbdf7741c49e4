"""Failed jobs that are the same failure: two thousand rows are mostly three errors."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dj_queue.admin.queries.backlog import Failure


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
    sample: Any = None
    """The id of the newest one."""
    queues: set[str] = field(default_factory=set)

    @property
    def short_error(self) -> str:
        """The last part of the class's path."""
        return self.error.rpartition(".")[2] or self.error

    @property
    def short_task(self) -> str:
        """The last part of the task's path."""
        return self.task_path.rpartition(".")[2]


def grouped(failures: Iterable[Failure], now: datetime) -> list[FailureGroup]:
    """*failures* (the newest first) by error and task, the most frequent first."""
    groups: dict[tuple[str, str], FailureGroup] = {}
    for each in failures:
        key = (each.error, each.task_path)
        group = groups.setdefault(key, FailureGroup(*key))
        group.count += 1
        group.last_hour += now - each.failed_at < timedelta(hours=1)
        group.last_day += now - each.failed_at < timedelta(days=1)
        group.last_at = group.last_at or each.failed_at
        group.first_at = each.failed_at
        group.sample = group.sample or each.job_id
        group.queues.add(each.queue_name)
    return sorted(groups.values(), key=lambda group: -group.count)
