"""Tasks that are hard on the process they run in."""

import ctypes
import os
import sys
import threading
import time
from pathlib import Path

from django.tasks import task

_memory = []


@task
def say_and_sleep(path, seconds):
    Path(path).touch()
    time.sleep(seconds)


@task
def exit_hard(status):
    os._exit(status)


@task
def take_memory(size):
    _memory.append(b"x" * size)
    return os.getpid()


@task
def leave_a_thread(seconds):
    threading.Thread(target=time.sleep, args=(seconds,)).start()


@task
def end_thread(part_of_name):
    (thread,) = [each for each in threading.enumerate() if each.name.endswith(part_of_name)]
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
    )


@task
def surroundings():
    from dj_queue.config import backend_config

    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "input": sys.stdin.read(),
        "variables": [name for name in os.environ if name == "DJ_QUEUE_CHILD"],
        "max_result_bytes": backend_config("default").options.max_result_bytes,
    }
