"""Tasks with hooks of their own, and hooks that note what they saw."""

import threading

from django.tasks import task

from dj_queue.hooks import job_hooks

called = []


def note(moment):
    """A hook that notes *moment*, its result's status, the error if there is one, and its thread."""

    def hook(result, error=None):
        called.append((moment, str(result.status), error, threading.current_thread().name))

    return hook


def async_note(moment):
    """The same as an `async def`."""

    async def hook(result, error=None):
        called.append((moment, str(result.status), error, threading.current_thread().name))

    return hook


def refuse(result):
    raise PermissionError("not today")


def leave(result, error=None):
    raise SystemExit(3)


def write_queue_name(result):
    """Use the database, as a hook may, and leave a row to be seen from other processes."""
    from dj_queue.models import Pause

    Pause.objects.create(queue_name=f"{result.task.name} {result.status}")


ALL = {name: note(name) for name in ("enqueued", "before", "failed", "after")}


@job_hooks(**ALL)
@task
def add(a, b):
    called.append("add runs")
    return a + b


@task
@job_hooks(**{name: async_note(name) for name in ("enqueued", "before", "failed", "after")})
async def add_async(a, b):
    called.append("add runs")
    return a + b


@job_hooks(**ALL)
@task
async def add_async_with_plain_hooks(a, b):
    called.append("add runs")
    return a + b


@job_hooks(after=note("upper"))
@task
@job_hooks(after=note("lower"))
def stacked():
    return None


@job_hooks(before=refuse, failed=note("failed"), after=note("after"))
@task
def refused():
    called.append("refused runs")


@job_hooks(enqueued=leave, failed=leave, after=leave)
@task
def hooks_that_leave(value):
    if value is None:
        raise ValueError("no value")
    return value


@job_hooks(before=write_queue_name, after=write_queue_name)
@task
def seen_in_the_database():
    return None


@task
def plain():
    return None
