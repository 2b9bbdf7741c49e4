"""dj-queue 0.14.2 from PyPI, used through its public interface only."""

from benchmarks.contenders import django_tables
from benchmarks.contenders.base import Contender

__all__ = ["DJ_QUEUE_0_14"]

DJ_QUEUE_0_14 = Contender(
    name="dj-queue",
    distribution="dj-queue",
    requirements=("dj-queue[postgres]==0.14.2", "psycopg[binary]"),
    settings="mode async, 16 threads (S8: 64), prefetch_multiplier 2 (S3, S7: 16)",
    migrate=django_tables.MIGRATE,
    worker=("python", "-m", "django_site.manage", "dj_queue", "--mode", "async"),
    producer=django_tables.PRODUCER,
    remaining=django_tables.REMAINING,
    succeeded=django_tables.SUCCEEDED,
    finished_trigger=django_tables.FINISHED_TRIGGER,
    drain_jobs=3_000,
    # Mode async drains some 15 % faster than fork, and 16 threads with prefetch_multiplier 16 some
    # 20 % faster than with the default of 2; its latencies are better with the default. In S8 each
    # thread runs one task and holds one connection, of which PostgreSQL allows 100 by default.
    worker_environment={
        "S3": {"DJ_QUEUE_BENCH_PREFETCH": "16"},
        "S7": {"DJ_QUEUE_BENCH_PREFETCH": "16"},
        "S8": {"DJ_QUEUE_BENCH_THREADS": "64"},
    },
    extra_scenarios=frozenset({"S7"}),
)
