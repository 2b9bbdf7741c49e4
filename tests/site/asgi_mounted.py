"""The test site inside, and around, applications of other frameworks."""

import os
import sys
from contextlib import asynccontextmanager

from django.core.asgi import get_asgi_application
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from dj_queue.contrib.asgi import DjQueueLifespan, lifespan

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

_django = get_asgi_application()


@asynccontextmanager
async def _own_lifespan(app):
    from dj_queue.runtime import embedded

    print("own startup, jobs run:", embedded.running() is not None, file=sys.stderr)
    yield
    print("own shutdown, jobs run:", embedded.running() is not None, file=sys.stderr)


# The wrapper outside, as it should be; one more inside changes nothing.
around_starlette = DjQueueLifespan(
    Starlette(routes=[Mount("/", DjQueueLifespan(_django))], lifespan=_own_lifespan)
)

# The lifespan given to the framework.
fastapi = FastAPI(lifespan=lifespan)
fastapi.mount("/", _django)

# The wrapper inside, where it hears nothing of the server.
inside_starlette = Starlette(routes=[Mount("/", DjQueueLifespan(_django))])
