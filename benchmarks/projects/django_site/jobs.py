"""The tasks that are measured."""

import asyncio

from common.recording import now, write_record
from django.tasks import task

__all__ = ["noop", "record", "sleep"]


@task
def noop() -> None:
    """Do nothing."""


@task
def record(sequence: int) -> None:
    """Say when it began."""
    write_record(sequence, now())


@task
async def sleep(sequence: int) -> None:
    """Wait as for a slow server, and say when it began and ended."""
    started_at = now()
    await asyncio.sleep(0.1)
    write_record(sequence, started_at)
