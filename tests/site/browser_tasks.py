"""Tasks for somebody who watches the dashboard."""

from pathlib import Path

from django.tasks import task


@task(queue_name="mail")
def send(number):
    return number


@task(queue_name="reports")
def fails_until(path):
    """Fails until there is a file at *path*."""
    if not Path(path).exists():
        raise LookupError(f"{path} is not there yet")
    return "there"
