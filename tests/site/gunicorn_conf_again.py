"""Tells the worker to quit once more while it handles that it was told to."""

import os
import signal

from dj_queue.contrib.gunicorn import post_fork, worker_exit

__all__ = ["post_fork", "worker_exit", "worker_int"]

_told = []


def worker_int(worker):
    """Called by Gunicorn's own handler of SIGINT and SIGQUIT."""
    print("worker_int", flush=True)
    if not _told:
        _told.append(True)
        os.kill(os.getpid(), signal.SIGQUIT)
