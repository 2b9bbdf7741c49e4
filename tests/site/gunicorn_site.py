"""The test site as Gunicorn loads it: nothing but this module names the settings, and no wrapper runs jobs.

The query at import is what careless projects do; with preload_app it opens a connection in the arbiter.
"""

import os
import time

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

asgi = get_asgi_application()
_wsgi = get_wsgi_application()

from dj_queue.models import Job  # noqa: E402 - models want Django to be set up

Job.objects.count()


def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/block":
        time.sleep(60)
    return _wsgi(environ, start_response)
