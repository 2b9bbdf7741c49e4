"""The test site with its admin, the static files of that, and jobs inside."""

import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

from dj_queue.contrib.asgi import DjQueueLifespan

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

application = DjQueueLifespan(ASGIStaticFilesHandler(get_asgi_application()))
