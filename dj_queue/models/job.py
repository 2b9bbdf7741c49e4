"""The job: one call of a task, what was asked for and what came of it."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from dj_queue.ids import new_job_id
from dj_queue.states import Executor, JobState

if TYPE_CHECKING:
    from typing import Self


class JobQuerySet(models.QuerySet["Job"]):
    """Jobs by state."""

    def ready(self) -> Self:
        """Jobs that wait for a worker."""
        return self.filter(ready_execution__isnull=False)

    def scheduled(self) -> Self:
        """Jobs that wait for their time."""
        return self.filter(scheduled_execution__isnull=False)

    def claimed(self) -> Self:
        """Jobs that belong to a worker process."""
        return self.filter(claimed_execution__isnull=False)

    def blocked(self) -> Self:
        """Jobs that wait for a slot of their concurrency key."""
        return self.filter(blocked_execution__isnull=False)

    def failed(self) -> Self:
        """Jobs whose last attempt failed."""
        return self.filter(failed_execution__isnull=False)

    def finished(self) -> Self:
        """Jobs that ended well, or were discarded by their concurrency policy."""
        return self.filter(finished_at__isnull=False)

    def invalid_execution_state(self) -> Self:
        """Jobs that are in more than one state at once, which nobody here writes. Reads all tables."""
        told = [f"{state}_execution__isnull" for state in _LIVE_STATES] + ["finished_at__isnull"]
        count = [models.Case(models.When(**{name: False}, then=1), default=0) for name in told]
        return self.alias(_states=reduce(add, count)).filter(_states__gt=1)


class Job(models.Model):
    """One call of a task.

    The row is written once and updated once, when an attempt ends. It has no index but its key: an
    update that touches no indexed column stays on its page in PostgreSQL (a HOT update), and every
    question asked about many jobs is asked of the tables of executions. Retention walks the key,
    which is in order of time.
    """

    id = models.UUIDField(_("id"), primary_key=True, default=new_job_id, editable=False)
    """A UUID of version 7."""
    task_path = models.TextField(_("task path"))
    """`module.qualname` of the task's function."""
    queue_name = models.CharField(_("queue"), max_length=64, default="default")
    priority = models.SmallIntegerField(_("priority"), default=0)
    """-100 to 100; higher first."""
    payload = models.JSONField(_("payload"))
    """`{"args": [...], "kwargs": {...}}`"""
    backend_alias = models.CharField(_("backend"), max_length=64, default="default")
    executor = models.SmallIntegerField(_("executor"), default=Executor.THREAD)
    """A `dj_queue.states.Executor`."""
    scheduled_at = models.DateTimeField(_("scheduled at"), null=True, blank=True)
    """The task's `run_after`; kept when the time has come."""
    concurrency_key = models.CharField(_("concurrency key"), max_length=255, null=True, blank=True)
    concurrency_limit = models.IntegerField(_("concurrency limit"), null=True, blank=True)
    concurrency_duration = models.IntegerField(_("concurrency duration"), null=True, blank=True)
    """Seconds."""
    concurrency_on_conflict = models.CharField(
        _("on conflict"), max_length=7, null=True, blank=True
    )
    """`block` or `discard`."""
    retry_policy = models.JSONField(_("retry policy"), null=True, blank=True)
    trace_context = models.JSONField(_("trace context"), null=True, blank=True)
    """The carrier of the enqueuing trace, a small mapping of text to text."""
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    """When the job was enqueued, by the database's clock."""
    updated_at = models.DateTimeField(_("updated at"), default=timezone.now)
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    """When the first attempt that ended began."""
    last_attempted_at = models.DateTimeField(_("last attempted at"), null=True, blank=True)
    """When the newest attempt that ended began."""
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)
    """When the job ended well. Null for a failed job."""
    return_value = models.JSONField(_("return value"), null=True, blank=True)
    worker_ids = models.JSONField(_("worker ids"), null=True, blank=True)
    """Names of the workers of the attempts that ended, one each, oldest first; null before the first."""
    errors = models.JSONField(_("errors"), null=True, blank=True)
    """One `{"exception_class", "message", "traceback", "failed_at"}` per failed attempt, oldest first."""

    objects = JobQuerySet.as_manager()

    class Meta:
        db_table = "dj_queue_jobs"
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(priority__gte=-100, priority__lte=100),
                name="dj_queue_jobs_priority_range",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_path} {self.id}"

    @property
    def status(self) -> JobState | None:
        """Where the job is; None when no table of executions knows it and it has not finished.

        Asks the database for each table whose row was not fetched with `select_related`.
        """
        if self.finished_at is not None:
            return JobState.FINISHED
        for state in _LIVE_STATES:
            if hasattr(self, f"{state}_execution"):
                return state
        return None

    @property
    def live_execution_state_names(self) -> list[str]:
        """The states in whose tables the job stands: one, or none when it has finished.

        Asks the database as `status` does.
        """
        return [str(state) for state in _LIVE_STATES if hasattr(self, f"{state}_execution")]

    @property
    def execution_state_names(self) -> list[str]:
        """As `live_execution_state_names`, and `finished` where it has."""
        finished = [str(JobState.FINISHED)] if self.finished_at is not None else []
        return [*self.live_execution_state_names, *finished]

    @property
    def has_invalid_execution_state(self) -> bool:
        """Whether the job is in more than one state at once."""
        return len(self.execution_state_names) > 1

    @property
    def ready(self) -> bool:
        """Whether the job waits for a worker."""
        return self.status is JobState.READY

    @property
    def scheduled(self) -> bool:
        """Whether the job waits for its time."""
        return self.status is JobState.SCHEDULED

    @property
    def claimed(self) -> bool:
        """Whether the job belongs to a worker process."""
        return self.status is JobState.CLAIMED

    @property
    def blocked(self) -> bool:
        """Whether the job waits for a slot."""
        return self.status is JobState.BLOCKED

    @property
    def failed(self) -> bool:
        """Whether the last attempt failed."""
        return self.status is JobState.FAILED

    @property
    def finished(self) -> bool:
        """Whether the job ended well."""
        return self.status is JobState.FINISHED


_LIVE_STATES = (
    JobState.READY,
    JobState.SCHEDULED,
    JobState.CLAIMED,
    JobState.BLOCKED,
    JobState.FAILED,
)
