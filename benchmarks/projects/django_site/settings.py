"""One set of settings for both contenders; they differ in the worker's tuning only."""

import os
import urllib.parse

_URL = urllib.parse.urlsplit(os.environ["DJ_QUEUE_BENCH_DATABASE_URL"])

SECRET_KEY = "benchmark"
DEBUG = False
USE_TZ = True
# No logging configuration, so that nobody is measured writing to a terminal.
LOGGING_CONFIG = None
INSTALLED_APPS = ["dj_queue"]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _URL.path.lstrip("/"),
        "USER": urllib.parse.unquote(_URL.username or ""),
        "PASSWORD": urllib.parse.unquote(_URL.password or ""),
        "HOST": _URL.hostname or "",
        "PORT": str(_URL.port or ""),
        # Persistent connections: with Django's default of 0 enqueueing is measured as connecting.
        "CONN_MAX_AGE": None,
    }
}

_worker: dict[str, object] = {
    "queues": os.environ.get("DJ_QUEUE_BENCH_QUEUES", "*"),
    "threads": int(os.environ.get("DJ_QUEUE_BENCH_THREADS", "16")),
}
if concurrency := os.environ.get("DJ_QUEUE_BENCH_ASYNC_CONCURRENCY"):
    _worker["async_concurrency"] = int(concurrency)
if prefetch := os.environ.get("DJ_QUEUE_BENCH_PREFETCH"):
    _worker["prefetch_multiplier"] = int(prefetch)

TASKS = {
    "default": {
        "BACKEND": "dj_queue.backend.DjQueueBackend",
        "OPTIONS": {
            "mode": os.environ.get("DJ_QUEUE_BENCH_MODE", "async"),
            "workers": [_worker],
        },
    }
}
