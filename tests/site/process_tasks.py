"""Tasks for child processes: they compute, say where they run, and kill the process that they are in."""

import contextvars
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from django.db import connection, transaction
from django.tasks import task
from django.tasks.signals import task_finished, task_started

from dj_queue.api import executor, is_stopping, on_worker_lost
from dj_queue.config import backend_config

_variable = contextvars.ContextVar("variable", default="unset")


@task
def where():
    return {"pid": os.getpid(), "parent": os.getppid(), "nice": os.nice(0), "argv": sys.argv[:2]}


@task
async def where_async():
    return {"pid": os.getpid(), "parent": os.getppid()}


@executor("process")
@task
def only_in_a_process():
    return os.getpid()


@task
@executor("process")
async def only_in_a_process_async():
    return os.getpid()


@task
def until_stopping(path, seconds=20):
    """Whether the worker was about to stop at first, and then within *seconds*."""
    at_first = is_stopping()
    Path(path).write_text(str(os.getpid()))
    deadline = time.monotonic() + seconds
    while not is_stopping() and time.monotonic() < deadline:
        time.sleep(0.002)
    return [at_first, is_stopping()]


@executor("thread")
@task
def only_in_a_thread():
    return os.getpid()


@executor("thread")
@task
async def only_on_the_loop():
    return os.getpid()


@executor("process")
@task
def compute(seconds, path=None):
    """Pure Python, which holds the interpreter's lock all the time."""
    if path is not None:
        Path(path).write_text(str(os.getpid()))
    end, turns = time.process_time() + seconds, 0
    while time.process_time() < end:
        turns += sum(range(100)) and 1
    return os.getpid()


@task
def compute_anywhere(seconds):
    return compute.func(seconds)


@task
def wait_in_c(path, seconds=60):
    """Waits in a call that does not let go of the interpreter's lock."""
    Path(path).write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(seconds)


@task
def wait_for(path, awaited, seconds=60):
    """Says in the file *path* who it is, and returns when *awaited* exists."""
    Path(path).write_text(str(os.getpid()))
    deadline = time.monotonic() + seconds
    while not Path(awaited).exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    return os.getpid()


@task
def die(how):
    if how == "exit":
        os._exit(7)
    if how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)


@on_worker_lost("requeue")
@task
def die_once(path):
    if not Path(path).exists():
        Path(path).write_text("")
        os._exit(7)
    return os.getpid()


@task
def leave_a_process_behind():
    """It has a copy of everything that is open here, and outlives this process."""
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    os._exit(7)


@task
def end_a_forked_process():
    """As `multiprocessing.Pool` ends those that it has forked."""
    child = os.fork()
    if child == 0:
        time.sleep(20)
        os._exit(0)
    os.kill(child, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@task
def read_standard_input():
    return sys.stdin.read()


@task
def run_a_program():
    return subprocess.run(
        [sys.executable, "-c", "print(42)"], capture_output=True, text=True, check=True
    ).stdout


@task
def read_and_set_variable(value):
    before = _variable.get()
    _variable.set(value)
    return before


@task
def leave_transaction_open():
    transaction.atomic().__enter__()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


@task
def listen_to_signals(path):
    """From now on receivers in this process write to the file *path* what they hear."""

    def note(name):
        def receive(sender, task_result, **_kwargs):
            with Path(path).open("a") as file:
                file.write(f"{name} {task_result.id} {task_result.status} {os.getpid()}\n")

        return receive

    for name, django_signal in (("started", task_started), ("finished", task_finished)):
        django_signal.connect(note(name), weak=False)
    return os.getpid()


@task
def configured_executors():
    return [worker.executor for worker in backend_config("default").options.workers]
