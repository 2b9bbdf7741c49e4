"""Enqueue with `Task.apply_async`; Celery has no call for many tasks."""

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from common.producing import drive_without_loop, serve

from celery_app.app import TASKS, app, queue


class CeleryProducer:
    """One connection for all that it sends."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    async def enqueue(self, kind: str, sequence: int) -> str:
        """One message."""
        return self._send(kind, sequence)

    async def enqueue_bulk(self, kind: str, sequences: Sequence[int]) -> Callable[[], Any]:
        """A message for each."""
        return lambda: [self._send(kind, sequence) for sequence in sequences] and None

    def start_runtime(self) -> None:
        """Not measured."""
        raise NotImplementedError

    def stop_runtime(self) -> None:
        """Not measured."""
        raise NotImplementedError

    def _send(self, kind: str, sequence: int) -> str:
        arguments = () if kind == "noop" else (sequence,)
        return str(TASKS[kind].apply_async(arguments, producer=self._producer).id)


if __name__ == "__main__":
    # It is stopped by a signal, and leaves nothing on the broker.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with app.connection_for_write() as connection:
        # What an interrupted run has left there.
        queue.bind(connection).declare()
        queue.bind(connection).purge()
        try:
            with app.producer_or_acquire() as producer:
                serve(CeleryProducer(producer), drive_without_loop)
        finally:
            queue.bind(connection).delete()
