"""A process that enqueues and works at once, for some seconds; prints what it did as one line of JSON."""

import json
import os
import sys
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.db import transaction  # noqa: E402

from dj_queue import events  # noqa: E402
from dj_queue.runtime.supervisor import Supervisor  # noqa: E402
from tests.site import tasks  # noqa: E402


def main(seconds: float) -> None:
    """Enqueue as fast as it goes, alone and in transactions, while a runtime works beside it."""
    errors: list[str] = []
    events.subscribe(events.ActorFailed, lambda event: errors.append(repr(event.error)))
    supervisor = Supervisor.from_backend_config()
    supervisor.start()
    enqueued, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            tasks.add.enqueue(enqueued, 1)
            with transaction.atomic():
                tasks.add.enqueue(enqueued, 2)
                tasks.add.enqueue(enqueued, 3)
            enqueued += 3
        except Exception as error:  # noqa: BLE001
            errors.append(repr(error))
    supervisor.stop(20)
    sys.stdout.write(json.dumps({"enqueued": enqueued, "errors": errors[:5]}) + "\n")


if __name__ == "__main__":
    main(float(sys.argv[1]))
