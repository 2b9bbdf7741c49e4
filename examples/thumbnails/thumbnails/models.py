"""What the site itself remembers: sets of pictures, and how far the work on each picture is.

Whether that work waits, runs, failed or is done is not repeated here: the queue knows, and `job_id`
is how to ask it (see `reports.py`).
"""

import uuid
from pathlib import Path

from django.conf import settings
from django.db import models

MAX_NAME = 80


class PictureSet(models.Model):
    """The pictures that a visitor brought at once, deleted together when their time is over."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    visitor = models.CharField(max_length=32, db_index=True)
    """Whose they are: the random name in the visitor's session."""
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"set {self.id}"

    @property
    def folder(self) -> Path:
        """Where its files are. No part of a path here ever comes from a visitor."""
        return settings.MEDIA_ROOT / str(self.pk)


class Picture(models.Model):
    """One file that a visitor brought, and the job that works on it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    picture_set = models.ForeignKey(PictureSet, on_delete=models.CASCADE, related_name="pictures")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=MAX_NAME)
    """What the visitor called the file: shown, and used for nothing else."""
    sample = models.PositiveSmallIntegerField(null=True)
    """Which sample to paint; null for files that were brought."""
    job_id = models.CharField(max_length=64)
    """The id of the task's result; of the latest one, when it was tried again."""
    tries = models.PositiveSmallIntegerField(default=1)
    percent = models.PositiveSmallIntegerField(default=0)
    step = models.CharField(max_length=80, blank=True)
    """What the task is doing, written by the task itself."""

    class Meta:
        ordering = ["position"]

    def __str__(self) -> str:
        return f"picture {self.id}"

    @property
    def source(self) -> Path:
        """The file as it came."""
        return self.picture_set.folder / f"{self.pk}.source"

    def thumbnail(self, size: int) -> Path:
        """The thumbnail that fits into a square of *size* pixels."""
        return self.picture_set.folder / f"{self.pk}-{size}.webp"
