"""The systems that are compared, in the order of the report's columns."""

from benchmarks.contenders.base import Contender
from benchmarks.contenders.celery import CELERY_ON_RABBITMQ, CELERY_ON_REDIS
from benchmarks.contenders.dj_queue_0_14 import DJ_QUEUE_0_14
from benchmarks.contenders.django_tasks_db import DJANGO_TASKS_DB
from benchmarks.contenders.ours import OURS
from benchmarks.contenders.pgqueuer import PGQUEUER
from benchmarks.contenders.procrastinate import PROCRASTINATE

__all__ = ["CONTENDERS", "Contender"]

CONTENDERS: dict[str, Contender] = {
    contender.name: contender
    for contender in (
        OURS,
        DJ_QUEUE_0_14,
        PGQUEUER,
        PROCRASTINATE,
        DJANGO_TASKS_DB,
        CELERY_ON_REDIS,
        CELERY_ON_RABBITMQ,
    )
}
