"""The whole deployment: this application, in one uvicorn process, serves the site and runs its jobs."""

import os

from django.core.asgi import get_asgi_application

from dj_queue.contrib.asgi import DjQueueLifespan

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

application = DjQueueLifespan(get_asgi_application())
