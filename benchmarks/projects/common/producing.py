"""The enqueuing side of every contender: one loop for all, over a small protocol.

The process reads requests and writes answers, one JSON document per line:

* `burst` enqueues one job after the other as fast as it can;
* `bulk` enqueues many in one call;
* `paced` enqueues at given moments and reports them;
* `start_runtime` and `stop_runtime` run the workers inside this process, where a contender can.

The loops are coroutines so that synchronous and asynchronous contenders run the very same ones.
Each contender says how they are driven: asyncio, or `drive_without_loop`.
"""

import json
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from common.recording import now

__all__ = ["Producer", "drive_without_loop", "serve"]

# The first calls open the connection, import modules and let the driver prepare its statements.
_WARM_UP_JOBS = 20


class Producer(Protocol):
    """What a contender must be able to do; kinds of jobs are `noop`, `record` and `sleep`."""

    async def enqueue(self, kind: str, sequence: int) -> str:
        """Enqueue one job and return its id."""

    async def enqueue_bulk(self, kind: str, sequences: Sequence[int]) -> Callable[[], Any]:
        """Prepare a job per sequence and return what enqueues them in one call.

        The result of that call is awaited when it is awaitable.
        """

    def start_runtime(self) -> None:
        """Start the workers in this process."""

    def stop_runtime(self) -> None:
        """Stop them."""


class Conversation:
    """Answers the requests with one producer."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    async def serve(self) -> None:
        """Answer requests from standard input until it ends."""
        # Reading blocks the event loop where there is one; nothing else runs on it.
        for line in sys.stdin:
            request = json.loads(line)
            answer = await getattr(self, request.pop("do"))(**request)
            print(json.dumps(answer), flush=True)

    async def burst(self, kind: str, count: int) -> dict[str, float]:
        """Seconds for *count* calls of enqueue, one after the other, after a warm-up."""
        for _ in range(_WARM_UP_JOBS):
            await self._producer.enqueue(kind, -1)
        began = now()
        for sequence in range(count):
            await self._producer.enqueue(kind, sequence)
        return {"seconds": now() - began}

    async def bulk(self, kind: str, count: int, warm_up: int = 0) -> dict[str, float]:
        """Seconds for one call that enqueues *count* jobs; the list of jobs is built before."""
        if warm_up:
            await self._call(await self._producer.enqueue_bulk(kind, [-1] * warm_up))
        call = await self._producer.enqueue_bulk(kind, range(count))
        began = now()
        await self._call(call)
        return {"seconds": now() - began}

    async def paced(self, kind: str, offsets: list[float], first: int) -> list[list[Any]]:
        """Enqueue at each of *offsets* (seconds from now); `[id, called_at, returned_at]` of each.

        The schedule does not wait for the system under test: a call that takes too long makes the
        next one late, not the rest of the schedule.
        """
        calls = []
        began = now()
        for sequence, offset in enumerate(offsets, start=first):
            if (pause := began + offset - now()) > 0:
                time.sleep(pause)
            called_at = now()
            job_id = await self._producer.enqueue(kind, sequence)
            calls.append([job_id, called_at, now()])
        return calls

    async def start_runtime(self) -> None:
        """Run the workers in this process from now on."""
        self._producer.start_runtime()

    async def stop_runtime(self) -> None:
        """Stop them."""
        self._producer.stop_runtime()

    @staticmethod
    async def _call(call: Callable[[], Any]) -> None:
        result = call()
        if hasattr(result, "__await__"):
            await result


def serve(producer: Producer, drive: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """Answer requests with *producer*; *drive* runs a coroutine to its end."""
    drive(Conversation(producer).serve())


def drive_without_loop(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never really waits, without an event loop.

    For synchronous contenders: Django refuses its synchronous database calls while a loop runs in
    the thread, and a loop would cost what their users do not pay.
    """
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("a synchronous producer waited for an event loop")
