"""What every example needs and none is about: a project with a fresh SQLite database, and waiting.

In your project this is `settings.py`, `manage.py migrate` and a web server.
"""

import atexit
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import django
from django.apps import apps
from django.core.management import call_command

__all__ = ["running_jobs", "setup", "wait_for", "wait_until"]


def setup(**options: Any) -> None:
    """Set Django up with these `OPTIONS`, and make the tables; nothing where that is done already."""
    if apps.ready:
        return
    folder = tempfile.mkdtemp(prefix="dj_queue_example_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.update(
        DJANGO_SETTINGS_MODULE="project.settings",
        EXAMPLE_FOLDER=folder,
        EXAMPLE_OPTIONS=json.dumps(options),
    )
    django.setup()
    call_command("migrate", verbosity=0)


@contextmanager
def running_jobs() -> Iterator[None]:
    """Run jobs in this process, as a web server does that has `DjQueueWSGI` in its `wsgi.py`."""
    from dj_queue.contrib import wsgi

    wsgi.start(required=True)
    try:
        yield
    finally:
        wsgi.stop()


def wait_for(*results: Any) -> None:
    """Wait until each of the jobs has ended."""
    for result in results:
        wait_until(lambda result=result: _has_ended(result), f"the end of {result.task.name}")


def wait_until(condition: Callable[[], object], what: str = "it") -> None:
    """Wait until *condition* is true; ends the program when that takes a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"waited for {what} in vain")
        time.sleep(0.01)


def _has_ended(result: Any) -> bool:
    result.refresh()
    return bool(result.is_finished)
