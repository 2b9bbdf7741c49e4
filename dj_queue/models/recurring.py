"""Recurring tasks and the record of what was fired."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from dj_queue.config.recurring import CATCH_UP
from dj_queue.exceptions import InvalidSchedule
from dj_queue.models.job import Job
from dj_queue.schedule import parse


class RecurringTask(models.Model):
    """A schedule and what to enqueue by it."""

    backend_alias = models.CharField(max_length=64, default="default")
    key = models.CharField(max_length=255)
    task_path = models.CharField(max_length=255)
    payload = models.JSONField(null=True, blank=True)
    schedule = models.CharField(max_length=255)
    queue_name = models.CharField(max_length=64, default="default")
    priority = models.SmallIntegerField(default=0)
    description = models.TextField(blank=True, default="")
    static = models.BooleanField(default=True)
    """Whether the entry comes from settings, and goes when it is taken out of them."""
    timezone = models.CharField(max_length=64, null=True, blank=True)
    """Zone of the schedule, unless that names one itself; null for the project's."""
    catch_up = models.CharField(max_length=6, default="latest")
    """`skip`, `latest` or `all`: what is made up after a time in which nobody fired."""
    enabled = models.BooleanField(default=True)
    disabled_by_hand = models.BooleanField(default=False)
    """Whether somebody has switched it off, who is not to be overruled by the settings."""
    next_run_at = models.DateTimeField(null=True, blank=True)
    """The first time that was not fired; null means that it is counted from when somebody looks."""
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "dj_queue_recurring_tasks"
        verbose_name = _("recurring task")
        verbose_name_plural = _("recurring tasks")
        constraints = [
            models.UniqueConstraint(
                fields=["backend_alias", "key"],
                name="dj_queue_recurring_tasks_backend_alias_key_unique",
            ),
        ]
        indexes = [
            # What is due, and when something is due next: asked each time that anything is.
            models.Index(fields=["backend_alias", "next_run_at"], name="djq_recurring_next_run"),
        ]

    def __str__(self) -> str:
        return self.key

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write the row; raises `ValidationError` if a value is wrong. Nothing in this project uses it."""
        self.full_clean()
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Raises `ValidationError` for a schedule or a `catch_up` that means nothing."""
        super().clean()
        if self.catch_up not in CATCH_UP:
            expected = _("Expected one of %(choices)s.") % {"choices": ", ".join(CATCH_UP)}
            raise ValidationError({"catch_up": expected})
        try:
            parse(self.schedule, self.timezone)
        except InvalidSchedule as error:
            raise ValidationError({"schedule": str(error)}) from error


class RecurringExecution(models.Model):
    """One firing; the unique row is what makes it happen once, whoever fires."""

    backend_alias = models.CharField(max_length=64, default="default")
    job = models.OneToOneField(
        Job, on_delete=models.SET_NULL, null=True, blank=True, related_name="recurring_execution"
    )
    task_key = models.CharField(max_length=255)
    run_at = models.DateTimeField()
    created_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "dj_queue_recurring_executions"
        verbose_name = _("recurring execution")
        verbose_name_plural = _("recurring executions")
        constraints = [
            models.UniqueConstraint(
                fields=["backend_alias", "task_key", "run_at"],
                name="dj_queue_recur_exec_backend_run_at_unique",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_key} {self.run_at}"
