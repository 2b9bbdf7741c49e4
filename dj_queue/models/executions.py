"""The live states of a job: a row in exactly one of these tables.

The tables that every job passes through have no foreign key in the database: checking it would read and
mark the job's row at each insert, which costs more than the insert. A row without its job is
harmless: claims take jobs, not rows.
"""

from typing import Any, cast

from django.core.exceptions import ValidationError
from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from dj_queue.models.job import Job
from dj_queue.models.process import Process
from dj_queue.models.shortcuts import Discardable, Retryable, Undiscardable
from dj_queue.states import Executor


class Execution(models.Model):
    """A row that says in which state a job is; `save` refuses what cannot be.

    For rows that somebody writes by hand: everything in this project writes them without `save`.
    """

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write the row; raises `ValidationError` if a value is wrong or the job is in another state."""
        self.full_clean()
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Raises `ValidationError` if the job has a row in the table of another state."""
        super().clean()
        database = router.db_for_write(type(self), instance=self)
        job_id = getattr(self, "job_id", None)
        for other in cast("list[Any]", Execution.__subclasses__()):
            rows = other._base_manager.using(database).filter(job_id=job_id)  # noqa: SLF001
            if not isinstance(self, other) and rows.exists():
                raise ValidationError(
                    _("The job %(job)s already has a row in another state: %(state)s."),
                    code="another_state",
                    params={"job": job_id, "state": other._meta.verbose_name},  # noqa: SLF001
                )


class ReadyExecution(Discardable, Execution):
    """A job that waits for a worker. `id` is its place in the order of arrival."""

    job = models.OneToOneField(
        Job, on_delete=models.CASCADE, related_name="ready_execution", db_constraint=False
    )
    backend_alias = models.CharField(max_length=64, default="default")
    queue_name = models.CharField(max_length=64, default="default")
    priority = models.SmallIntegerField(default=0)
    executor = models.SmallIntegerField(default=Executor.THREAD)
    latency_started_at = models.DateTimeField(null=True, blank=True)
    """From when the wait counts, where that is not `created_at`. Nothing here writes it: see `PastPause`."""
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "dj_queue_ready_executions"
        verbose_name = _("ready execution")
        verbose_name_plural = _("ready executions")
        indexes = [
            # Claim from every queue.
            models.Index(
                fields=["backend_alias", "executor", "-priority", "id"], name="djq_ready_claim"
            ),
            # Claim from named queues, and find which queues there are (a skip scan).
            models.Index(
                fields=["backend_alias", "queue_name", "executor", "-priority", "id"],
                name="djq_ready_claim_queue",
            ),
        ]

    def __str__(self) -> str:
        return f"ready {self.job_id}"


class ScheduledExecution(Discardable, Execution):
    """A job that waits for its time."""

    job = models.OneToOneField(
        Job, on_delete=models.CASCADE, related_name="scheduled_execution", db_constraint=False
    )
    backend_alias = models.CharField(max_length=64, default="default")
    queue_name = models.CharField(max_length=64, default="default")
    priority = models.SmallIntegerField(default=0)
    executor = models.SmallIntegerField(default=Executor.THREAD)
    scheduled_at = models.DateTimeField()
    concurrency_key = models.CharField(max_length=255, null=True, blank=True)
    """The job's: it tells who competes for a slot when the time has come."""
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "dj_queue_scheduled_executions"
        verbose_name = _("scheduled execution")
        verbose_name_plural = _("scheduled executions")
        indexes = [
            # Promote what is due, in the order in which it became due; the first row is the next due time.
            models.Index(
                fields=["backend_alias", "scheduled_at", "-priority", "id"],
                name="djq_scheduled_due",
            ),
            # Which queues there are (a skip scan), and how many jobs wait in each.
            models.Index(fields=["backend_alias", "queue_name"], name="djq_scheduled_queue"),
        ]

    def __str__(self) -> str:
        return f"scheduled {self.job_id}"


class ClaimedExecution(Undiscardable, Execution):
    """A job that belongs to a worker process until it ends or goes back under the same token."""

    job = models.OneToOneField(
        Job, on_delete=models.CASCADE, related_name="claimed_execution", db_constraint=False
    )
    process = models.ForeignKey(
        Process, on_delete=models.SET_NULL, null=True, blank=True, db_constraint=False
    )
    """Whose jobs to recover when a process is lost: the index of this column serves that alone."""
    token = models.BigIntegerField()
    """Proof of this claim. Whoever writes about the job must show it; an earlier holder's is worthless."""
    started_at = models.DateTimeField(null=True, blank=True)
    """When the job was handed to an executor; null while it is only claimed."""
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "dj_queue_claimed_executions"
        verbose_name = _("claimed execution")
        verbose_name_plural = _("claimed executions")

    def __str__(self) -> str:
        return f"claimed {self.job_id}"


class BlockedExecution(Discardable, Execution):
    """A job that waits for a slot of its concurrency key."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="blocked_execution")
    backend_alias = models.CharField(max_length=64, default="default")
    queue_name = models.CharField(max_length=64, default="default")
    priority = models.SmallIntegerField(default=0)
    executor = models.SmallIntegerField(default=Executor.THREAD)
    concurrency_key = models.CharField(max_length=255)
    waits = models.BooleanField(default=True)
    """False for a job that is discarded, and not kept, if there is no slot when its turn is decided."""
    expires_at = models.DateTimeField()
    """When the wait has been longer than the job's `concurrency_duration`; nothing depends on it."""
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "dj_queue_blocked_executions"
        verbose_name = _("blocked execution")
        verbose_name_plural = _("blocked executions")
        indexes = [
            # The next waiter of a key, whatever its backend: slots are shared across backends. And those
            # that do not wait, which are looked for each time and there for a moment only.
            models.Index(
                fields=["concurrency_key", "waits", "-priority", "id"], name="djq_blocked_next"
            ),
            # As above.
            models.Index(fields=["backend_alias", "queue_name"], name="djq_blocked_queue"),
        ]

    def __str__(self) -> str:
        return f"blocked {self.job_id}"


class FailedExecution(Retryable, Execution):
    """A job whose last attempt failed, with that error."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="failed_execution")
    exception_class = models.CharField(_("exception class"), max_length=255, blank=True)
    message = models.TextField(_("message"), blank=True)
    traceback = models.TextField(_("traceback"), blank=True)
    retry_at = models.DateTimeField(_("retry at"), null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "dj_queue_failed_executions"
        verbose_name = _("failed execution")
        verbose_name_plural = _("failed executions")
        indexes = [
            # The newest failures, and those past their retention.
            models.Index(fields=["created_at", "id"], name="djq_failed_created"),
            # Retries that are due.
            models.Index(fields=["retry_at"], name="djq_failed_retry"),
        ]

    def __str__(self) -> str:
        return f"failed {self.job_id}"
