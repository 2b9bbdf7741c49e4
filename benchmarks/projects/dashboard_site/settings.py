"""The same settings for this project and the reference."""

import os
import urllib.parse

_URL = urllib.parse.urlsplit(os.environ["DJ_QUEUE_BENCH_DATABASE_URL"])

SECRET_KEY = "benchmark"
DEBUG = False
USE_TZ = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "dashboard_site.urls"
LOGGING_CONFIG = None
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "dj_queue",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "/static/"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _URL.path.lstrip("/"),
        "USER": urllib.parse.unquote(_URL.username or ""),
        "PASSWORD": urllib.parse.unquote(_URL.password or ""),
        "HOST": _URL.hostname or "",
        "PORT": str(_URL.port or ""),
        # Persistent connections: otherwise connecting is measured.
        "CONN_MAX_AGE": None,
    }
}
# Stats and metrics are closed otherwise.
DJ_QUEUE_OBSERVABILITY_TOKEN = "benchmark"
TASKS = {"default": {"BACKEND": "dj_queue.backend.DjQueueBackend"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
