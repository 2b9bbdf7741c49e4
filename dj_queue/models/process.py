"""Who runs: living processes, leaders, paused queues, and the anchor of the dashboard's permissions."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Process(models.Model):
    """A supervisor or one of its actors, with its last sign of life."""

    backend_alias = models.CharField(max_length=64, default="default")
    kind = models.CharField(max_length=32)
    """`Supervisor`, `Worker`, `Dispatcher` or `Scheduler`."""
    name = models.CharField(max_length=255)
    """Unique among living and dead: host, pid and a random part, so that two containers differ."""
    pid = models.IntegerField()
    hostname = models.CharField(max_length=255)
    metadata = models.JSONField(default=dict, blank=True)
    supervisor = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="children"
    )
    last_heartbeat_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "dj_queue_processes"
        verbose_name = _("process")
        verbose_name_plural = _("processes")
        constraints = [
            models.UniqueConstraint(fields=["backend_alias", "name"], name="djq_process_name"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def leadership(self) -> Leadership | None:
        """What this part of a process leads, since when and with which progress; None if nothing. A query."""
        rows = Leadership.objects.using(self._state.db).filter(
            backend_alias=self.backend_alias, process_name=self.name
        )
        return rows.filter(
            models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=timezone.now())
        ).first()


class Pause(models.Model):
    """A queue whose jobs are not claimed."""

    backend_alias = models.CharField(max_length=64, default="default")
    queue_name = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "dj_queue_pauses"
        verbose_name = _("pause")
        verbose_name_plural = _("pauses")
        constraints = [
            models.UniqueConstraint(fields=["backend_alias", "queue_name"], name="djq_pause_queue"),
        ]

    def __str__(self) -> str:
        return self.queue_name


class PastPause(models.Model):
    """A time in which a queue was paused, kept while jobs wait in it that were ready before its end.

    It is taken off their wait. Writing the new time into each waiting row instead would lock and
    rewrite a backlog of any size.
    """

    backend_alias = models.CharField(max_length=64, default="default")
    queue_name = models.CharField(max_length=64)
    paused_at = models.DateTimeField()
    resumed_at = models.DateTimeField()

    class Meta:
        db_table = "dj_queue_past_pauses"
        verbose_name = _("past pause")
        verbose_name_plural = _("past pauses")
        indexes = [
            # The pauses of a queue that ended after a job became ready.
            models.Index(
                fields=["backend_alias", "queue_name", "resumed_at"], name="djq_past_pause"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.queue_name} {self.paused_at}"


class Leadership(models.Model):
    """Which process does the work of a role that only one should do, since when and until when.

    On SQLite and behind a transaction pooler the row is a lease and decides. Elsewhere a lock of the
    database decides, and the row tells about it.
    """

    backend_alias = models.CharField(max_length=64, default="default")
    role = models.CharField(max_length=32)
    """`dispatcher`."""
    process_name = models.CharField(max_length=255)
    pid = models.IntegerField()
    hostname = models.CharField(max_length=255)
    incarnation = models.CharField(max_length=128, default="", blank=True)
    """What tells the process from later ones with its pid; only asked where the row is a lease."""
    term = models.BigIntegerField(default=1)
    """One more at each change, so that who led before knows that it is over."""
    since = models.DateTimeField(default=timezone.now)
    progress_at = models.DateTimeField(default=timezone.now)
    """The last sign that the leader gets on, some seconds old at the most while it does."""
    expires_at = models.DateTimeField(null=True, blank=True)
    """The end, unless it is put off; in the past when nobody leads, none where a lock decides."""

    class Meta:
        db_table = "dj_queue_leaderships"
        verbose_name = _("leadership")
        verbose_name_plural = _("leaderships")
        constraints = [
            models.UniqueConstraint(fields=["backend_alias", "role"], name="djq_leadership_role"),
        ]

    def __str__(self) -> str:
        return f"{self.role} of {self.backend_alias}"


class Dashboard(models.Model):
    """No table: the content type that the dashboard's permissions hang on."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = [
            ("view_dashboard", _("Can view the dashboard")),
            ("view_job_args", _("Can view arguments and results of jobs")),
            ("retry_job", _("Can retry failed jobs")),
            ("run_job", _("Can start scheduled jobs now and enqueue jobs again")),
            ("discard_job", _("Can discard jobs")),
            ("pause_queue", _("Can pause and resume queues")),
            ("clear_queue", _("Can clear queues")),
            ("manage_recurring", _("Can run, enable, disable and unschedule recurring tasks")),
        ]
        db_table = "dj_queue_dashboard"
        verbose_name = _("dashboard")
        verbose_name_plural = _("dashboard")

    def __str__(self) -> str:
        return "dashboard"
