"""The site and its background jobs, in one process: put this file in the place of your project's wsgi.py."""

import os

from django.core.wsgi import get_wsgi_application

from dj_queue.contrib.wsgi import DjQueueWSGI

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

application = DjQueueWSGI(get_wsgi_application())
