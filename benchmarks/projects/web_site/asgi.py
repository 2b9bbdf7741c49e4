"""The site with its workers."""

import os

from django.core.asgi import get_asgi_application

from dj_queue.contrib.asgi import DjQueueLifespan

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "web_site.settings")

application = DjQueueLifespan(get_asgi_application())
