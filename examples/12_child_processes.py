"""Jobs that compute go to child processes of low priority, and leave the interpreter to the site."""

import os
from importlib import import_module

from project import running_jobs, setup, wait_for

setup(workers=[{"threads": 1}, {"threads": 1, "executor": "process"}])

from django.tasks import task

from dj_queue.api import executor


@executor("process")
@task
def compute(number):
    return [os.getpid(), sum(n * n for n in range(number))]


@executor("thread")
@task
def wait():
    return os.getpid()


def main():
    # Children import the module of a task, so a task that is in the program itself they cannot find.
    module = import_module("12_child_processes")
    computed, waited = module.compute.enqueue(1000), module.wait.enqueue()
    with running_jobs():
        wait_for(computed, waited)

    process, answer = computed.return_value
    print("the answer:", answer)
    print("computed in this process:", process == os.getpid())
    print("waited in this process:", waited.return_value == os.getpid())


if __name__ == "__main__":
    main()

# Output:
# the answer: 332833500
# computed in this process: False
# waited in this process: True
