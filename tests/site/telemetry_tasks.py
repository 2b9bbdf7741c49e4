"""Tasks that look at the trace and the job in which they run."""

import logging

from asgiref.sync import sync_to_async
from django.db import connection
from django.tasks import task
from opentelemetry import baggage, trace

from dj_queue.api import concurrency

logger = logging.getLogger("site.work")


def _where():
    context = trace.get_current_span().get_span_context()
    return [f"{context.trace_id:032x}", f"{context.span_id:016x}", baggage.get_baggage("tenant")]


@task
def where():
    """The trace, the span and the baggage's tenant."""
    return _where()


@concurrency(key="where", limit=1)
@task
def where_limited():
    """The same with a concurrency key."""
    return _where()


@task
async def where_async():
    """The same, and what asgiref's thread sees."""
    return [_where(), await sync_to_async(_where, thread_sensitive=True)()]


@task
def ask_database():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 42")
        return cursor.fetchone()[0]


@task
def fail(message="no"):
    raise LookupError(message)


@task
async def fail_async():
    raise ValueError("not today")


@task
def enqueue_another():
    return where.enqueue().id


@task
def say(words):
    logger.warning("%s", words)


@task
async def say_async(words):
    await sync_to_async(logger.warning, thread_sensitive=True)("%s in a thread", words)
    logger.warning("%s", words)
