"""The task that is measured."""

from common.recording import now, write_record
from django.tasks import task

__all__ = ["record"]


@task
def record(sequence: int) -> None:
    """Say when it began."""
    write_record(sequence, now())
