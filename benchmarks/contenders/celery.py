"""Celery from PyPI on Redis and on RabbitMQ, without a result backend."""

import os

from benchmarks.contenders.base import Contender

__all__ = ["CELERY_ON_RABBITMQ", "CELERY_ON_REDIS"]

_SETTINGS = (
    "prefork with 2 processes, prefetch 4 (S3: 64), acknowledged before they run, no results"
)


def _on(name: str, requirements: tuple[str, ...], broker_url: str) -> Contender:
    return Contender(
        name=name,
        distribution="celery",
        requirements=requirements,
        settings=_SETTINGS,
        migrate=(),
        # Without what several workers tell each other, which is not needed here.
        worker=(
            *(
                "celery",
                "--app",
                "celery_app.app",
                "worker",
                "--loglevel",
                "ERROR",
                "--concurrency",
                "2",
            ),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ),
        producer=("python", "-m", "celery_app.producer"),
        drain_jobs=5_000,
        worker_environment={"S3": {"DJ_QUEUE_BENCH_PREFETCH": "64"}},
        environment={"DJ_QUEUE_BENCH_BROKER_URL": broker_url},
        needs=broker_url,
        # The others are measured in PostgreSQL, or with `async def` tasks, which it does not have.
        scenarios=frozenset({"S1", "S2", "S3", "S4"}),
    )


CELERY_ON_REDIS = _on(
    "celery-redis",
    ("celery[redis]",),
    os.environ.get("DJ_QUEUE_BENCH_REDIS_URL", "redis://127.0.0.1:6379/0"),
)
CELERY_ON_RABBITMQ = _on(
    "celery-rabbitmq",
    ("celery",),
    os.environ.get("DJ_QUEUE_BENCH_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//"),
)
