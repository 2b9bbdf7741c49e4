"""Tasks for the tests of `dj_queue.testing`: they write, enqueue others, fail and break things."""

from django.db import IntegrityError, connection, transaction
from django.tasks import task

from dj_queue.api import enqueue_on_commit
from dj_queue.models import Pause

ran = []


@task
def note(value):
    ran.append(value)
    return value


@task
async def note_async(value):
    ran.append(value)
    await Pause.objects.acreate(queue_name=f"async {value}")


@task
def enqueue_more(number):
    """Enqueue *number* jobs, each of which enqueues one less."""
    ran.append(number)
    for _ in range(number):
        enqueue_more.enqueue(number - 1)


@task
def write_and_fail(name):
    Pause.objects.create(queue_name=name)
    raise ValueError(name)


@task
def break_the_transaction():
    Pause.objects.create(queue_name="twice")
    Pause.objects.create(queue_name="twice")


@task
def mark_for_rollback():
    transaction.set_rollback(True)
    raise IntegrityError("no")


@task
def enqueue_after_commit(value):
    with transaction.atomic():
        enqueue_on_commit(note, value)
        ran.append("before the commit")


@task
def again():
    again.enqueue()


@task(takes_context=True)
def whole_state(context):
    return {
        "attempt": context.attempt,
        "worker": context.task_result.worker_ids,
        "in transaction": connection.in_atomic_block,
    }
