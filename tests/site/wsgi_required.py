"""The test site for a WSGI server that must not serve without jobs."""

import os

from django.core.wsgi import get_wsgi_application

from dj_queue.contrib.wsgi import DjQueueWSGI

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

application = DjQueueWSGI(get_wsgi_application(), required=True)
