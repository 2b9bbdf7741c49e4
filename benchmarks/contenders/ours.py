"""dj_queue as it is in this working tree."""

from benchmarks.contenders import django_tables
from benchmarks.contenders.base import Contender
from benchmarks.envs import PROJECT_ROOT

__all__ = ["OURS"]

OURS = Contender(
    name="ours",
    distribution="dj-queue",
    requirements=(f"{PROJECT_ROOT}[postgres]", "psycopg[binary]"),
    settings="mode async, 16 threads, async_concurrency 1000",
    migrate=django_tables.MIGRATE,
    worker=("python", "-m", "django_site.manage", "dj_queue", "--mode", "async"),
    producer=django_tables.PRODUCER,
    remaining=django_tables.REMAINING,
    succeeded=django_tables.SUCCEEDED,
    finished_trigger=django_tables.FINISHED_TRIGGER,
    drain_jobs=20_000,
    pause_queue=("python", "-m", "django_site.manage", "dj_queue_queues", "pause"),
    worker_environment={"*": {"DJ_QUEUE_BENCH_ASYNC_CONCURRENCY": "1000"}},
    extra_scenarios=frozenset({"S4-in-process", "S7"}),
)
