"""Gunicorn for a Django site whose web workers also run its jobs."""

from dj_queue.contrib.gunicorn import post_fork, worker_exit

__all__ = ["post_fork", "worker_exit"]

bind = "127.0.0.1:8000"
# Each has a runtime of its own: as many job threads as workers times OPTIONS["workers"][...]["threads"].
workers = 2
worker_class = "gthread"
threads = 4

# A worker that is told to stop has this long for open requests and running jobs together, and then is killed.
# Longer than OPTIONS["shutdown_timeout"] by what a request may take, and shorter than TimeoutStopSec.
graceful_timeout = 30
