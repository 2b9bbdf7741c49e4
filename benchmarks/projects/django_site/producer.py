"""Enqueue through Django's own API, synchronously, in autocommit."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import django
from common.producing import drive_without_loop, serve

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_site.settings")
django.setup()

from django_site import jobs  # noqa: E402  tasks are defined after Django is set up

_TASKS = {"noop": jobs.noop, "record": jobs.record, "sleep": jobs.sleep}


class DjangoProducer:
    """`Task.enqueue` and the backend's `enqueue_all`."""

    def __init__(self) -> None:
        self._supervisor: Any = None

    async def enqueue(self, kind: str, sequence: int) -> str:
        """One call of `Task.enqueue`."""
        return _TASKS[kind].enqueue(*_arguments(kind, sequence)).id

    async def enqueue_bulk(self, kind: str, sequences: Sequence[int]) -> Callable[[], Any]:
        """One call of `enqueue_all`."""
        task = _TASKS[kind]
        calls = [(task, _arguments(kind, sequence), {}) for sequence in sequences]
        return lambda: task.get_backend().enqueue_all(calls)

    def start_runtime(self) -> None:
        """Start a supervisor in this process."""
        from dj_queue.runtime.supervisor import (
            Supervisor,
        )  # only the contender that is asked has it

        self._supervisor = Supervisor.from_backend_config(backend_alias="default")
        self._supervisor.start()

    def stop_runtime(self) -> None:
        """Stop it."""
        self._supervisor.stop()


def _arguments(kind: str, sequence: int) -> tuple[int, ...]:
    return () if kind == "noop" else (sequence,)


if __name__ == "__main__":
    serve(DjangoProducer(), drive_without_loop)
