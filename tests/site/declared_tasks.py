"""Tasks with recurring entries of their own; who wants these imports the module."""

from django.tasks import task

from dj_queue.api import recurring

YEARLY = "0 3 1 1 * UTC"


@recurring(YEARLY, key="above", args=[1])
@task(queue_name="sums", priority=4)
def above(number):
    return number


@task(queue_name="sums", priority=4)
@recurring(YEARLY, key="below", queue_name="others", priority=-1)
@recurring(YEARLY, key="second", catch_up="all", enabled=False, description="for people")
def below():
    return None


@recurring("@daily", backend_alias="elsewhere")
@task
def elsewhere():
    return None


@recurring("@daily")
@task
def without_key():
    return None
