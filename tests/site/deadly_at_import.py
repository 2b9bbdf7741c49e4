"""A module that ends whoever imports it, as a crash in C does, where the environment says so."""

import os

from django.tasks import task

from dj_queue.api import on_worker_lost

if os.environ.get("DJ_QUEUE_TEST_DEADLY_IMPORT"):
    os._exit(7)


# To ask for that one has to import the module.
@on_worker_lost("requeue")
@task
def never():
    pass
