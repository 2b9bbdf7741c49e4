"""Actions on so many jobs that a request cannot wait for them, with how far they are."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class BulkAction(models.Model):
    """What somebody asked to be done to all jobs that match; a job of our own does it, batch by batch.

    It keeps to the rows that were there when it was asked for (`last_key`), and begins again after
    `cursor` when its process is lost.
    """

    class State(models.TextChoices):
        """Where the action is."""

        WAITING = "waiting", _("waiting for a worker")
        RUNNING = "running", _("running")
        STOPPING = "stopping", _("stopping")
        STOPPED = "stopped", _("stopped")
        FINISHED = "finished", _("finished")
        FAILED = "failed", _("failed")

    OVER = (State.STOPPED, State.FINISHED, State.FAILED)

    backend_alias = models.CharField(max_length=64, default="default")
    action = models.CharField(max_length=32)
    """`retry`, `discard` or `run_now`."""
    filters = models.JSONField(default=dict)
    """As in the address of the page it was asked for on: text by name."""
    last_key = models.BigIntegerField()
    cursor = models.BigIntegerField(default=0)
    """Keys of rows in the table of executions."""
    examined = models.BigIntegerField(default=0)
    """Jobs that were looked at, matching or not."""
    done = models.BigIntegerField(default=0)
    refused = models.BigIntegerField(default=0)
    state = models.CharField(max_length=16, default="waiting")
    """A `State`."""
    message = models.TextField(blank=True, default="")
    """Why it failed."""
    requested_by = models.CharField(max_length=255, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "dj_queue_bulk_actions"
        verbose_name = _("bulk action")
        verbose_name_plural = _("bulk actions")

    def __str__(self) -> str:
        return f"{self.action} {self.pk}"

    @property
    def state_label(self) -> str:
        """`state` in words."""
        return str(self.State(self.state).label)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in self.OVER
