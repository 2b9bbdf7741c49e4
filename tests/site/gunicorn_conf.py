"""All that a project writes for Gunicorn."""

import os

from dj_queue.contrib.gunicorn import post_fork, worker_exit

__all__ = ["post_fork", "worker_exit"]

# The settings are named by the application's module, as in a project, and by nothing before it.
os.environ.pop("DJANGO_SETTINGS_MODULE", None)
