"""The application with the measured tasks."""

import asyncio
import os

import procrastinate
from common.recording import now, write_record

__all__ = ["TASKS", "app"]

# Room in the pool for the jobs that fetch and finish at the same time, far below PostgreSQL's limit
# of 100 connections.
app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(
        conninfo=os.environ["DJ_QUEUE_BENCH_DATABASE_URL"].replace("postgres://", "postgresql://"),
        min_size=2,
        max_size=int(os.environ.get("DJ_QUEUE_BENCH_POOL", "20")),
    )
)


@app.task
async def noop() -> None:
    """Do nothing."""


@app.task
async def record(sequence: int) -> None:
    """Say when it began."""
    write_record(sequence, now())


@app.task
async def sleep(sequence: int) -> None:
    """Wait as for a slow server, and say when it began and ended."""
    started_at = now()
    await asyncio.sleep(0.1)
    write_record(sequence, started_at)


TASKS = {"noop": noop, "record": record, "sleep": sleep}
