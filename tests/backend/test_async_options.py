"""`aenqueue` and its like: in which thread, and what becomes of its connections."""

from asgiref.sync import async_to_sync
from django.db import connection, transaction
from django.tasks import default_task_backend

from dj_queue.models import Job
from tests.site.tasks import add, noop


async def enqueue_and_read():
    result = await add.aenqueue(1, 2)
    await default_task_backend.aenqueue_all([(noop, [], {})])
    await result.arefresh()
    return result


def test_by_default_they_take_part_in_the_callers_transaction():
    with transaction.atomic():
        async_to_sync(enqueue_and_read)()
        assert Job.objects.count() == 2
        transaction.set_rollback(True)

    assert not Job.objects.exists()


def test_in_another_thread_they_do_not(use_tasks):
    use_tasks(default={"async_thread_sensitive": False})

    with transaction.atomic():
        async_to_sync(enqueue_and_read)()
        transaction.set_rollback(True)

    assert Job.objects.count() == 2


def test_connections_are_closed_if_asked_for(use_tasks):
    async_to_sync(enqueue_and_read)()
    assert connection.connection is not None

    use_tasks(default={"async_close_connections": True})
    async_to_sync(enqueue_and_read)()

    assert connection.connection is None
    assert Job.objects.count() == 4


def test_but_never_in_the_middle_of_a_transaction(use_tasks):
    use_tasks(default={"async_close_connections": True})

    with transaction.atomic():
        async_to_sync(enqueue_and_read)()
        assert connection.connection is not None

    assert Job.objects.count() == 2
