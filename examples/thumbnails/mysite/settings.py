"""Settings of the demo: one process, one SQLite file, and what a site on the open web should have.

`DATABASES`, `TASKS` and `LOGGING` are what dj_queue is about; the rest is an ordinary Django project.
Everything the site writes is under VAR.
"""

import os
import secrets
from datetime import timedelta
from pathlib import Path

from django.utils.csp import CSP

BASE_DIR = Path(__file__).resolve().parent.parent
VAR = Path(os.environ.get("DEMO_VAR") or BASE_DIR / "var").resolve()
VAR.mkdir(parents=True, exist_ok=True)


def _kept_secret(file: Path) -> str:
    """A secret of this installation, made when it is first asked for."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text()
    with os.fdopen(descriptor, "w") as opened:
        opened.write(secrets.token_urlsafe(50))
    return file.read_text()


# --- The queue -------------------------------------------------------------------------------------

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": VAR / "db.sqlite3",
        "OPTIONS": {
            # A transaction takes the write lock when it begins. With SQLite's own default, one that has
            # read first and then writes fails at once when somebody else wrote in between.
            "transaction_mode": "IMMEDIATE",
            # How many seconds a writer waits for its turn.
            "timeout": 10,
            # WAL: readers and the one writer do not wait for each other, so pages load while jobs write.
            # NORMAL: the file stays sound whatever happens; a power cut may undo the last moments.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
    }
}

TASKS = {
    "default": {
        "BACKEND": "dj_queue.backend.DjQueueBackend",
        "OPTIONS": {
            "workers": [
                {
                    # Pictures first, then whatever other queue has work.
                    "queues": ["pictures", "*"],
                    # Two pictures at once: each may take a few hundred MB while it is open.
                    "threads": 2,
                    # `async def` tasks need no thread of these two.
                    "async_concurrency": 10,
                },
            ],
            # What a picture may take to finish when the server is told to stop. Servers are killed
            # some time after they were asked: stay below that.
            "shutdown_timeout": 15,
        },
    }
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname:7} {name}: {message}", "style": "{"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        # `django.tasks` says when each task starts and ends, `dj_queue` when the workers do.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        # Pages that ask for news every second would fill the console and hide the jobs.
        "uvicorn.access": {"level": "WARNING"},
    },
}

# --- What this site does ---------------------------------------------------------------------------

KEEP_PICTURES = timedelta(minutes=float(os.environ.get("DEMO_KEEP_MINUTES") or 15))

MAX_FILES = 12
MAX_FILE_BYTES = 15 * 1024**2
MAX_UPLOAD_BYTES = 60 * 1024**2
"""All files of one upload together."""
MAX_PIXELS = 40_000_000
"""Of one picture: a small file can unpack to an enormous one."""
MAX_PICTURES_PER_VISITOR = 36
MAX_PICTURES = 400
"""On the whole site: what the disk and the patience of the last in line can bear."""

# --- An ordinary project ---------------------------------------------------------------------------

DEBUG = os.environ.get("DEMO_DEBUG") == "1"
SECRET_KEY = os.environ.get("DEMO_SECRET_KEY") or _kept_secret(VAR / "secret_key")
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", *os.environ.get("DEMO_HOSTS", "").split()]

INSTALLED_APPS = ["dj_queue", "thumbnails"]
ROOT_URLCONF = "mysite.urls"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]

TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
# Not below anything that is served: pictures go out through a view that asks whose they are.
MEDIA_ROOT = VAR / "media"

# In front of Django's own handlers, so that it can refuse before anything is parsed.
FILE_UPLOAD_HANDLERS = [
    "thumbnails.uploads.RefuseLargeUploads",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
DATA_UPLOAD_MAX_NUMBER_FILES = MAX_FILES

# The session is one random name for the visitor, signed: no table for it.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_HTTPONLY = True
# DEMO_HTTPS=1 where a proxy in front speaks TLS.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = os.environ.get("DEMO_HTTPS") == "1"

# Scripts, styles and pictures come from this site's own addresses, nothing from within the page.
SECURE_CSP = {
    "default-src": [CSP.NONE],
    "script-src": [CSP.SELF],
    "style-src": [CSP.SELF],
    "img-src": [CSP.SELF],
    "connect-src": [CSP.SELF],
    "form-action": [CSP.SELF],
    "base-uri": [CSP.NONE],
    "frame-ancestors": [CSP.NONE],
}
