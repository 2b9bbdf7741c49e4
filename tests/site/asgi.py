"""The test site with jobs inside, as a project would write it."""

import os

from django.core.asgi import get_asgi_application

from dj_queue.contrib.asgi import DjQueueLifespan

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

application = DjQueueLifespan(get_asgi_application())
