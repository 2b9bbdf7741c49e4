"""Settings of the tests; the database comes from DJ_QUEUE_TEST_DATABASE_URL and is SQLite without it."""

import json
import os
import tempfile

from tests.databases import database_settings
from tests.site import otlp, spans_file

SECRET_KEY = "only for tests"
DEBUG = False
USE_TZ = True
TIME_ZONE = "Europe/Vienna"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "dj_queue",
    "tests.site",
]
MIDDLEWARE = [
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
# Nothing inline, nothing from elsewhere: the dashboard lives with that.
SECURE_CSP = {
    "default-src": ["'none'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
    "img-src": ["'self'"],
    "connect-src": ["'self'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
    "base-uri": ["'none'"],
    "require-trusted-types-for": ["'script'"],
}
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
# One sweep of MD5 is enough for passwords of tests.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DATABASES = {
    "default": database_settings(
        os.environ.get("DJ_QUEUE_TEST_DATABASE_URL")
        or f"sqlite:///{tempfile.gettempdir()}/dj_queue_tests.sqlite3"
    )
}
# Servers and commands that a test starts work on the database that the test run has made.
if "DJ_QUEUE_TEST_DATABASE_NAME" in os.environ:
    DATABASES["default"]["NAME"] = os.environ["DJ_QUEUE_TEST_DATABASE_NAME"]
if "DJ_QUEUE_TEST_POOL" in os.environ:
    DATABASES["default"]["OPTIONS"] = {"pool": json.loads(os.environ["DJ_QUEUE_TEST_POOL"])}
TASKS = {
    "default": {
        "BACKEND": "dj_queue.backend.DjQueueBackend",
        "OPTIONS": json.loads(os.environ.get("DJ_QUEUE_TEST_OPTIONS", "{}")),
    }
}
ROOT_URLCONF = "tests.site.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Processes of the tests of telemetry; a project sets its SDK up in just such a place.
spans_file.install()
otlp.install()
