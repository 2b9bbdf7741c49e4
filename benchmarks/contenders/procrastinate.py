"""Procrastinate from PyPI, with asynchronous tasks and concurrency."""

from benchmarks.contenders.base import Contender
from benchmarks.postgres import finished_trigger

__all__ = ["PROCRASTINATE"]

_APP = ("procrastinate", "--app", "procrastinate_app.app.app")

PROCRASTINATE = Contender(
    name="procrastinate",
    distribution="procrastinate",
    requirements=("procrastinate", "psycopg[binary]"),
    settings="async tasks, concurrency 10 (S8: 1000), pool of 20",
    migrate=((*_APP, "schema", "--apply"),),
    worker=(*_APP, "worker"),
    producer=("python", "-m", "procrastinate_app.producer"),
    remaining="SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')",
    succeeded="SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'",
    finished_trigger=finished_trigger(
        table="procrastinate_jobs", event="UPDATE", job_id="id", condition="status = 'succeeded'"
    ),
    drain_jobs=3_000,
    worker_environment={
        # 5 and 10 drain alike, 20 and 50 more slowly. Measured with S3.
        "*": {"PROCRASTINATE_WORKER_CONCURRENCY": "10"},
        "S8": {"PROCRASTINATE_WORKER_CONCURRENCY": "1000"},
    },
)
