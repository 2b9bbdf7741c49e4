"""Tasks as projects write them: with arguments, queues, priorities, a context, and `async def`."""

from django.tasks import task


@task
def echo(*args, **kwargs):
    return {"args": args, "kwargs": kwargs}


@task
async def echo_async(*args, **kwargs):
    return {"args": args, "kwargs": kwargs}


@task(queue_name="mail", priority=10)
def send_mail(address):
    return address


@task(takes_context=True)
def read_context(context, *args):
    return {
        "attempt": context.attempt,
        "id": context.task_result.id,
        "status": context.task_result.status,
        "worker_ids": context.task_result.worker_ids,
        "args": list(args),
    }


@task(takes_context=True)
async def read_context_async(context):
    return {"attempt": context.attempt, "worker_ids": context.task_result.worker_ids}


@task
def fail(message="It failed"):
    raise ValueError(message)


def not_a_task():
    """Stands where somebody took the decorator away."""


@task
def empty_a_list(values):
    """Changes what it was given, as functions do."""
    values.clear()
