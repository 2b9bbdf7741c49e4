"""Concurrency limits: how many slots a key has, and which jobs hold them."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from dj_queue.models.job import Job


class Semaphore(models.Model):
    """A concurrency key with its limit; shared by every backend on the same database.

    Its slots are the rows of `SemaphoreHolder` with the same key. Whoever gives or takes one has this
    row locked, in a short transaction of its own and never in that of a caller.
    """

    key = models.CharField(max_length=255, unique=True)
    value = models.IntegerField()
    """Free slots when they were last counted; below zero while more run than a lowered limit allows."""
    limit = models.IntegerField()
    """What the newest job with this key said."""
    period = models.PositiveIntegerField(null=True, blank=True)
    """Seconds that a slot of a rate limit lasts, as that job said; None where it lasts as long as its job."""
    limit_set_at = models.DateTimeField(default=timezone.now)
    """When that job was enqueued: older ones that come to their turn later do not change the limit."""
    expires_at = models.DateTimeField()
    """When the row may go, unless a job holds a slot or waits for one."""
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "dj_queue_semaphores"
        verbose_name = _("semaphore")
        verbose_name_plural = _("semaphores")

    def __str__(self) -> str:
        return self.key

    @property
    def occupied_count(self) -> int:
        """How many slots are in use now. A query."""
        return SemaphoreHolder.in_use(self._state.db).filter(key=self.key).count()

    @property
    def available_count(self) -> int:
        """How many slots are free now, never below zero. A query."""
        return max(0, self.limit - self.occupied_count)


class SemaphoreHolder(models.Model):
    """A slot in use: it belongs to a job, so that one that leaked can be found and given back.

    There is no foreign key in the database: who deletes a job by hand must not be stopped by its slot.
    """

    job = models.OneToOneField(
        Job,
        on_delete=models.CASCADE,
        related_name="semaphore_holder",
        db_constraint=False,
        null=True,
        blank=True,
    )
    """None for a slot of a rate limit, and for one taken by hand (`dj_queue.operations.concurrency`)."""
    key = models.CharField(max_length=255)
    expires_at = models.DateTimeField(null=True, blank=True)
    """The end of a slot that has no job. A job's slot has none: no clock takes it away."""
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "dj_queue_semaphore_holders"
        verbose_name = _("semaphore holder")
        verbose_name_plural = _("semaphore holders")
        indexes = [
            # Who holds a slot of this key.
            models.Index(fields=["key"], name="djq_holder_key"),
        ]

    def __str__(self) -> str:
        return f"{self.key} {self.job_id}"

    @classmethod
    def in_use(cls, database: str | None) -> models.QuerySet["SemaphoreHolder"]:
        """Those whose time, if they have one, is not over by this machine's clock."""
        lasting = models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now())
        return cls.objects.using(database).filter(lasting)
