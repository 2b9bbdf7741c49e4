"""Enqueue with Procrastinate's synchronous API, the faster of its two for one caller."""

from collections.abc import Callable, Sequence
from typing import Any

from common.producing import drive_without_loop, serve

from procrastinate_app.app import TASKS, app


class ProcrastinateProducer:
    """`Task.defer` and `Task.batch_defer`."""

    async def enqueue(self, kind: str, sequence: int) -> str:
        """One call of `defer`."""
        return str(TASKS[kind].defer(**_arguments(kind, sequence)))

    async def enqueue_bulk(self, kind: str, sequences: Sequence[int]) -> Callable[[], Any]:
        """One call of `batch_defer`."""
        calls = [_arguments(kind, sequence) for sequence in sequences]
        return lambda: TASKS[kind].batch_defer(*calls)

    def start_runtime(self) -> None:
        """Not measured."""
        raise NotImplementedError

    def stop_runtime(self) -> None:
        """Not measured."""
        raise NotImplementedError


def _arguments(kind: str, sequence: int) -> dict[str, Any]:
    return {} if kind == "noop" else {"sequence": sequence}


if __name__ == "__main__":
    with app.open():
        serve(ProcrastinateProducer(), drive_without_loop)
