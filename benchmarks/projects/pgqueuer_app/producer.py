"""Enqueue with PgQueuer's asyncpg driver on one connection."""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import uvloop
from common.producing import serve
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries


class PgQueuerProducer:
    """`Queries.enqueue` with one job and with a list of them."""

    def __init__(self) -> None:
        self._queries: Queries | None = None

    async def enqueue(self, kind: str, sequence: int) -> str:
        """One call with one job."""
        (job_id,) = await (await self._connected()).enqueue(kind, _payload(kind, sequence))
        return str(job_id)

    async def enqueue_bulk(self, kind: str, sequences: Sequence[int]) -> Callable[[], Any]:
        """One call with a list of jobs."""
        queries = await self._connected()
        kinds = [kind] * len(sequences)
        payloads = [_payload(kind, sequence) for sequence in sequences]
        priorities = [0] * len(sequences)
        return lambda: queries.enqueue(kinds, payloads, priorities)

    def start_runtime(self) -> None:
        """Not measured."""
        raise NotImplementedError

    def stop_runtime(self) -> None:
        """Not measured."""
        raise NotImplementedError

    async def _connected(self) -> Queries:
        if self._queries is None:
            connection = await asyncpg.connect(os.environ["DJ_QUEUE_BENCH_DATABASE_URL"])
            self._queries = Queries(AsyncpgDriver(connection))
        return self._queries


def _payload(kind: str, sequence: int) -> bytes | None:
    return None if kind == "noop" else str(sequence).encode()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        serve(PgQueuerProducer(), runner.run)
