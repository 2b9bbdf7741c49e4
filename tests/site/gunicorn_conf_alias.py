"""A configuration that imports every hook and names a backend that there is not."""

from dj_queue.contrib.gunicorn import post_fork as start
from dj_queue.contrib.gunicorn import post_worker_init, worker_abort, worker_exit, worker_int

__all__ = ["post_fork", "post_worker_init", "worker_abort", "worker_exit", "worker_int"]


def post_fork(server, worker):
    start(server, worker)
    server.dj_queue_backend_alias = "other"
