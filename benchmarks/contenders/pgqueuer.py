"""PgQueuer from PyPI, with the settings of its performance guide."""

from benchmarks.contenders.base import Contender
from benchmarks.postgres import finished_trigger

__all__ = ["PGQUEUER"]

PGQUEUER = Contender(
    name="pgqueuer",
    distribution="pgqueuer",
    requirements=("pgqueuer", "asyncpg", "uvloop"),
    settings="asyncpg, uvloop, async tasks, `pgq autovac`, batch size 1000 (S4 to S6: 1)",
    migrate=(("pgq", "install"), ("pgq", "autovac")),
    worker=("python", "-m", "pgqueuer_app.worker"),
    producer=("python", "-m", "pgqueuer_app.producer"),
    # A finished job is deleted and its end is logged, in one statement.
    remaining="SELECT count(*) FROM pgqueuer",
    succeeded="SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'",
    finished_trigger=finished_trigger(
        table="pgqueuer_log", event="INSERT", job_id="job_id", condition="status = 'successful'"
    ),
    drain_jobs=20_000,
    # It also writes the ends of jobs in batches of this size, or after 100 ms: with 1000, a job at
    # 200 jobs/s is finished 55 ms after its enqueue, with 1 after 4 ms. Measured with S6.
    worker_environment={
        "*": {"DJ_QUEUE_BENCH_BATCH": "1000"},
        "S4": {"DJ_QUEUE_BENCH_BATCH": "1"},
        "S5": {"DJ_QUEUE_BENCH_BATCH": "1"},
        "S6": {"DJ_QUEUE_BENCH_BATCH": "1"},
    },
)
