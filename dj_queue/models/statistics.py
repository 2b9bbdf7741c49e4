"""What has run: counts and histograms by minute, hour, queue and task, which outlive jobs and processes."""

from django.db import models
from django.utils.translation import gettext_lazy as _

BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Seconds. The column with number n counts what took no longer than bound n and longer than the one before;
the last column what took longer than all of them."""

TOTALS = 0
"""In place of a minute: everything since the table was made. Such rows are never removed."""


def hour_of(minute: int) -> int:
    """In place of a minute: all of the hour that *minute* lies in, hours since 1970 as a negative number.

    In this way each kind of row is a range of the key, and a week is 168 hours instead of 10,080 minutes.
    """
    return -(minute // 60)


OTHER_TASKS = "other"
"""In place of a task's path, where a process has counted too many different ones, or for a very long one."""

OTHER_ERRORS = "other"
"""The same for classes of errors."""

FAILURE, MISSED, ENQUEUED = "failure", "missed", "enqueued"
"""Kinds of `Occurrence`."""


class Statistic(models.Model):
    """Attempts of one task in one queue that ended in one minute, in one hour, or ever.

    Processes add to a row what they have counted in memory, every few seconds. What is in the row of a minute
    is also in those of its hour and of the totals, so counters never go down when old minutes are removed.
    """

    backend_alias = models.CharField(max_length=64)
    minute = models.BigIntegerField()
    """Minutes since 1970 in UTC, by the database's clock; or `hour_of` one; or `TOTALS`."""
    queue_name = models.CharField(max_length=64)
    task_path = models.CharField(max_length=255)
    """A task's path, or `OTHER_TASKS`."""
    finished = models.BigIntegerField(default=0)
    """Attempts that ended well."""
    failed = models.BigIntegerField(default=0)
    """Attempts that ended with an error, those of processes that were lost included."""
    retried = models.BigIntegerField(default=0)
    """How many of both were not the first attempt of their job."""
    duration_sum = models.FloatField(default=0)
    """Seconds that all these attempts took together."""
    wait_sum = models.FloatField(default=0)
    """Seconds from when a job could have run to its first attempt, summed up."""
    duration_0 = models.BigIntegerField(default=0)
    duration_1 = models.BigIntegerField(default=0)
    duration_2 = models.BigIntegerField(default=0)
    duration_3 = models.BigIntegerField(default=0)
    duration_4 = models.BigIntegerField(default=0)
    duration_5 = models.BigIntegerField(default=0)
    duration_6 = models.BigIntegerField(default=0)
    duration_7 = models.BigIntegerField(default=0)
    duration_8 = models.BigIntegerField(default=0)
    duration_9 = models.BigIntegerField(default=0)
    duration_10 = models.BigIntegerField(default=0)
    duration_11 = models.BigIntegerField(default=0)
    duration_12 = models.BigIntegerField(default=0)
    wait_0 = models.BigIntegerField(default=0)
    wait_1 = models.BigIntegerField(default=0)
    wait_2 = models.BigIntegerField(default=0)
    wait_3 = models.BigIntegerField(default=0)
    wait_4 = models.BigIntegerField(default=0)
    wait_5 = models.BigIntegerField(default=0)
    wait_6 = models.BigIntegerField(default=0)
    wait_7 = models.BigIntegerField(default=0)
    wait_8 = models.BigIntegerField(default=0)
    wait_9 = models.BigIntegerField(default=0)
    wait_10 = models.BigIntegerField(default=0)
    wait_11 = models.BigIntegerField(default=0)
    wait_12 = models.BigIntegerField(default=0)

    class Meta:
        db_table = "dj_queue_statistics"
        verbose_name = _("statistic")
        verbose_name_plural = _("statistics")
        constraints = [
            # The row to add to; the totals of a backend; and its minutes or hours from one on.
            models.UniqueConstraint(
                fields=["backend_alias", "minute", "queue_name", "task_path"],
                name="djq_statistic_key",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.queue_name} {self.task_path} {self.minute}"


class Occurrence(models.Model):
    """How often something has happened since this table was made, for what statistics have no column for.

    An attempt that failed, by the class of its error (`FAILURE`, with a queue and a task), a time of a
    recurring task that was not made up for (`MISSED`, by its key), or a job that was enqueued (`ENQUEUED`,
    with a queue and a task). Such rows are never removed, so they never go down.
    """

    backend_alias = models.CharField(max_length=64)
    kind = models.CharField(max_length=8)
    queue_name = models.CharField(max_length=64)
    task_path = models.CharField(max_length=255)
    about = models.CharField(max_length=255)
    """The class of an error, or the key of a recurring task; empty for `ENQUEUED`."""
    times = models.BigIntegerField(default=0)

    class Meta:
        db_table = "dj_queue_occurrences"
        verbose_name = _("occurrence")
        verbose_name_plural = _("occurrences")
        constraints = [
            # The row to add to, and all of a kind.
            models.UniqueConstraint(
                fields=["backend_alias", "kind", "queue_name", "task_path", "about"],
                name="djq_occurrence_key",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.about}"
