"""Steps of workflows."""

import os
import signal
from pathlib import Path

from django.tasks import task

from dj_queue.api import current_workspace, on_worker_lost
from dj_queue.hooks import job_hooks

called = []


@task
def count(by=1):
    called.append("count")
    workspace = current_workspace()
    workspace["count"] = workspace.get("count", 0) + by
    return workspace["count"]


@task
async def count_async(by=1):
    called.append("count_async")
    current_workspace()["count"] += by


@task
def fail_unless(key):
    workspace = current_workspace()
    workspace["touched"] = True
    if key not in workspace:
        raise LookupError(key)


@task
def spoil():
    current_workspace()["no json"] = object()


@task
def name(*parts):
    current_workspace()["name"] = [repr(part) for part in parts]


def _die_once(path):
    """Kill this process, as an operating system would, if nobody did so before."""
    marker = Path(path)
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def die_after(result):
    """A hook: the end of the step is written by now, the outcome of its job is not."""
    _die_once(result.kwargs["path"])


@on_worker_lost("requeue")
@task
def die_inside(path):
    current_workspace()["lost"] = True
    _die_once(path)
    current_workspace()["inside"] = Path(path).exists()


@on_worker_lost("requeue")
@job_hooks(after=die_after)
@task
def die_at_the_end(*, path):
    workspace = current_workspace()
    workspace["at the end"] = workspace.get("at the end", 0) + 1


@task
async def finish():
    current_workspace()["pid"] = os.getpid()
