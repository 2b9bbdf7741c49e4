"""The test site with jobs inside a WSGI server, as a project would write it."""

import os

from django.core.wsgi import get_wsgi_application

from dj_queue.contrib.wsgi import DjQueueWSGI

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

application = DjQueueWSGI(get_wsgi_application())
