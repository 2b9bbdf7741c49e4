"""Settings of the site; where its folder is and what runs its jobs comes from the environment."""

import os
from pathlib import Path

FOLDER = Path(os.environ["DJ_QUEUE_BENCH_FOLDER"])

SECRET_KEY = "benchmark"
DEBUG = False
USE_TZ = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "web_site.urls"
LOGGING_CONFIG = None
INSTALLED_APPS = ["dj_queue"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "db.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
    }
}
TASKS = {
    "default": {
        "BACKEND": "dj_queue.backend.DjQueueBackend",
        "OPTIONS": {
            "workers": {"executor": os.environ["DJ_QUEUE_BENCH_EXECUTOR"], "threads": 4},
            "shutdown_timeout": 0.5,
        },
    }
}
