"""Tasks with concurrency limits, declared in every way there is."""

import time
from datetime import timedelta

from django.tasks import task

from dj_queue.api import concurrency, limits_concurrency
from tests.site.fault_tasks import write
from tests.site.runtime_tasks import gate


@concurrency(key="one", limit=1)
@task
def one():
    return "ran"


@task
@concurrency(key="account:{account}", limit=2, duration=60)
def two_per_account(account, note=None):
    return note


@concurrency(key=lambda name, seconds=20: f"gate:{name}", limit=1)
@task
def wait_at(name, seconds=20):
    gate(f"{name} began").set()
    return gate(name).wait(seconds)


@concurrency(key="one", limit=1, on_conflict="discard")
@task
def one_or_none():
    return "ran"


@limits_concurrency(key="{name}", duration=timedelta(minutes=5))
@task
def own_key(name):
    return name


@limits_concurrency(key="{name}", to=3, group="mail")
@task(takes_context=True)
def group_key(context, name, kind="letter"):
    return context.attempt


@limits_concurrency(key="{name}", to=3, group="mail")
@task
async def async_group_key(name):
    return name


@limits_concurrency(key="gates", to=5)
@task
def wait_at_any(name, seconds=30):
    gate(f"{name} began").set()
    return gate(name).wait(seconds)


@concurrency(key="failing", limit=1)
@task
def fails():
    raise ValueError("on purpose")


@task
@concurrency(key="fault:{key}", limit=2)
def record(path, number, key, seconds):
    """Keeps the ledger of `fault_tasks`."""
    write(path, "began", number)
    time.sleep(seconds)
    write(path, "ended", number)
