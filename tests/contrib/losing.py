"""Stopping a server in the middle of its work, and looking for what was lost."""

from collections.abc import Callable

from dj_queue.models import ClaimedExecution, FailedExecution, Job, Process, ReadyExecution
from tests.contrib.servers import Server
from tests.waiting import wait_until

WHICH = "tests.site.runtime_tasks.which_process"
SLEEP = "tests.site.contrib_tasks.sleep_and_note"

# Enough for a server with two threads to be in the middle of it when it is stopped.
COUNT = 40
BUSY = {"workers": [{"threads": 2}], "shutdown_timeout": 10}


def finished(ids: list[str], *, seconds: float = 20):
    """The jobs with these ids, when all have ended well."""
    wait_until(
        lambda: Job.objects.filter(id__in=ids).finished().count() == len(ids),
        seconds=seconds,
        what=f"{len(ids)} finished jobs",
    )
    return Job.objects.filter(id__in=ids)


def serving_processes() -> set[int]:
    """The pids of the processes that are registered as running jobs."""
    return set(Process.objects.filter(kind="Supervisor").values_list("pid", flat=True))


def stop_in_the_middle(server: Server, stop: Callable[[], object]) -> list[str]:
    """Let *server* run `COUNT` jobs, stop it after the first ones, and assert that nothing was lost.

    The ids of the jobs; some of them are still to be run.
    """
    ids = server.enqueue(SLEEP, 0.2, count=COUNT)
    wait_until(lambda: Job.objects.filter(id__in=ids).finished().count() >= 4)

    stop()

    done = Job.objects.filter(id__in=ids).finished().count()
    assert done + ReadyExecution.objects.count() == COUNT
    assert done < COUNT
    assert not ClaimedExecution.objects.exists()
    assert not FailedExecution.objects.exists()
    assert not Process.objects.exists()
    return ids
