"""Jobs that compute, and jobs that wait."""

import time

from django.conf import settings
from django.db import connection
from django.tasks import task

__all__ = ["compute", "wait"]


@task
def compute(number: int, seconds: float) -> int:
    """Compute in pure Python, and say in a file that it began."""
    (settings.FOLDER / f"began-{number}").touch()
    end, turns = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        turns += sum(range(100)) and 1
    return turns


@task
def wait(number: int, seconds: float) -> None:
    """Wait as for an answer from elsewhere, 50 ms at a time with a query in between."""
    (settings.FOLDER / f"began-{number}").touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
