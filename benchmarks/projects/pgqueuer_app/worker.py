"""A worker process: one asyncpg connection, as the tuning guide of PgQueuer advises.

It is started by `PgQueuer.run` and not by `pgq run`, whose `--log-level` fails with the release of
typer that is current with PgQueuer 1.6.0; logging stays off, as it is for everyone.
"""

import asyncio
import os
import signal

import asyncpg
import uvloop
from common.recording import now, write_record
from pgqueuer import PgQueuer
from pgqueuer.models import Job


async def main() -> None:
    """Run until SIGTERM."""
    connection = await asyncpg.connect(os.environ["DJ_QUEUE_BENCH_DATABASE_URL"])
    try:
        pgq = PgQueuer.from_asyncpg_connection(connection)
        pgq.entrypoint("noop")(_noop)
        pgq.entrypoint("record")(_record)
        pgq.entrypoint("sleep")(_sleep)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, pgq.shutdown.set)
        await pgq.run(batch_size=int(os.environ["DJ_QUEUE_BENCH_BATCH"]))
    finally:
        await connection.close()


async def _noop(job: Job) -> None:
    del job


async def _record(job: Job) -> None:
    write_record(_sequence(job), now())


async def _sleep(job: Job) -> None:
    started_at = now()
    await asyncio.sleep(0.1)
    write_record(_sequence(job), started_at)


def _sequence(job: Job) -> int:
    assert job.payload is not None
    return int(job.payload)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
