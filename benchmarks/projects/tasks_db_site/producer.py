"""Enqueue with `Task.enqueue`; the backend has no call for many jobs."""

import os
from collections.abc import Callable, Sequence
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "tasks_db_site.settings"

from common.producing import drive_without_loop, serve
from django_site.producer import DjangoProducer


class TasksDbProducer(DjangoProducer):
    """Many jobs are many calls, in one transaction."""

    async def enqueue_bulk(self, kind: str, sequences: Sequence[int]) -> Callable[[], Any]:
        """Fill the queue for others to drain it."""
        from django.db import transaction
        from django_site import jobs

        task = getattr(jobs, kind)

        def fill() -> None:
            with transaction.atomic():
                for sequence in sequences:
                    task.enqueue(*(() if kind == "noop" else (sequence,)))

        return fill


if __name__ == "__main__":
    serve(TasksDbProducer(), drive_without_loop)
