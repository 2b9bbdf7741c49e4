"""A process dies while a job runs: the job fails, or is tried again where the task says that it may."""

import os
import signal
from importlib import import_module
from pathlib import Path

from project import running_jobs, setup, wait_for

setup(workers=[{"threads": 1, "executor": "process"}])

from django.tasks import task

from dj_queue.api import on_worker_lost

MARK = Path(os.environ["EXAMPLE_FOLDER"], "tried")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@task
def charge_a_card():
    die()


@on_worker_lost("requeue")
@task
def refresh_a_cache():
    if not MARK.exists():
        MARK.touch()
        die()
    return "refreshed"


def main():
    module = import_module("18_lost_work")
    once, again = module.charge_a_card.enqueue(), module.refresh_a_cache.enqueue()
    with running_jobs():
        wait_for(once, again)

    print("may not run twice:", once.status, once.errors[0].exception_class_path)
    print("may run twice:", again.status, again.return_value)


if __name__ == "__main__":
    main()

# Output:
# may not run twice: FAILED dj_queue.exceptions.ProcessExitError
# may run twice: SUCCESSFUL refreshed
