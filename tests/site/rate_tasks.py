"""Tasks with rate limits, declared in every way there is."""

import time
from datetime import timedelta

from django.tasks import task

from dj_queue.api import limits_rate, on_worker_lost

starts: list[float] = []
"""When `fast` began, by the monotonic clock of this process."""


@limits_rate(to=2, per=60)
@task
def two_per_minute(number=0):
    return number


@task
@limits_rate(key="{account}", to=1, per=timedelta(minutes=1))
def by_account(account):
    return account


@limits_rate(key=lambda account: account, to=1, per=60, group="mail")
@task
def letter(account):
    return account


@limits_rate(key="{account}", to=1, per=60, group="mail")
@task
def parcel(account):
    return account


@limits_rate(to=3, per=1)
@task
def fast():
    starts.append(time.monotonic())


@on_worker_lost("requeue")
@limits_rate(to=1, per=60)
@task
def one_per_minute():
    return None


@task
def unlimited():
    return None
