"""Settings for the site; `DJ_QUEUE_BENCH_CLEAR_AFTER` says after how many seconds finished jobs go."""

import json
import os

from tests.databases import database_settings

SECRET_KEY = "benchmark"
DEBUG = False
USE_TZ = True
LOGGING_CONFIG = None
INSTALLED_APPS = ["dj_queue"]
DATABASES = {
    "default": {
        **database_settings(os.environ["DJ_QUEUE_BENCH_DATABASE_URL"]),
        "CONN_MAX_AGE": None,
    }
}
TASKS = {
    "default": {
        "BACKEND": "dj_queue.backend.DjQueueBackend",
        "OPTIONS": {
            "mode": "async",
            "clear_finished_jobs_after": json.loads(
                os.environ.get("DJ_QUEUE_BENCH_CLEAR_AFTER", "null")
            ),
        },
    }
}
