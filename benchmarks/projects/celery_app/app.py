"""The application with the measured tasks."""

import os

from celery import Celery
from common.recording import now, write_record
from kombu import Queue

__all__ = ["TASKS", "app", "queue"]

# A queue of our own on somebody's broker.
queue = Queue(os.environ["DJ_QUEUE_BENCH_DATABASE_URL"].rpartition("/")[2], durable=True)

app = Celery(
    "celery_app",
    broker=os.environ["DJ_QUEUE_BENCH_BROKER_URL"],
    # No result is kept: the fastest that there is, and what most people run.
    task_ignore_result=True,
    task_queues=[queue],
    task_default_queue=queue.name,
    worker_prefetch_multiplier=int(os.environ.get("DJ_QUEUE_BENCH_PREFETCH", "4")),
    # Nobody is measured writing to a terminal or telling others of himself.
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    worker_redirect_stdouts=False,
    broker_connection_retry_on_startup=True,
)


@app.task
def noop() -> None:
    """Do nothing."""


@app.task
def record(sequence: int) -> None:
    """Say when it began."""
    write_record(sequence, now())


TASKS = {"noop": noop, "record": record}
