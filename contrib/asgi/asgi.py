"""The site and its background jobs, in one process: put this file in the place of your project's asgi.py."""

import os

from django.core.asgi import get_asgi_application

from dj_queue.contrib.asgi import DjQueueLifespan

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

# Outermost: whatever else wraps the application goes inside, or the server's start and stop are not heard.
application = DjQueueLifespan(get_asgi_application())
