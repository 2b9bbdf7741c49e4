"""Other ways to wrap the test site."""

import os
import sys

from django.core.asgi import get_asgi_application

from dj_queue.contrib.asgi import DjQueueLifespan

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

_django = get_asgi_application()

required = DjQueueLifespan(_django, required=True)
twice = DjQueueLifespan(DjQueueLifespan(_django))


async def _application_with_lifespan(scope, receive, send):
    if scope["type"] != "lifespan":
        await _django(scope, receive, send)
        return
    while True:
        message = await receive()
        print("own", message["type"].removeprefix("lifespan."), file=sys.stderr)
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


with_own_lifespan = DjQueueLifespan(_application_with_lifespan)
