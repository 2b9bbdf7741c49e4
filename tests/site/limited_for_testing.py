"""A task with a limit, for the tests of `dj_queue.testing`."""

from django.tasks import task


@task
def one_at_a_time(value):
    return value


one_at_a_time.func.concurrency_key = "one"
one_at_a_time.func.concurrency_limit = 1
