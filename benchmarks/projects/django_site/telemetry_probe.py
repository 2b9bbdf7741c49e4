"""What telemetry costs an enqueue in a process without an SDK: enqueues with it and without it, in turns.

    {"do": "measure", "rounds": 20, "jobs": 1000}

Without it means as if `dj_queue.telemetry.listen` had never been called: no listener, no tracer.
"""

import gc
import json
import os
import statistics
import sys
import time
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_site.settings")
django.setup()

from dj_queue import tracing  # noqa: E402
from dj_queue.events import bus  # noqa: E402
from django_site.jobs import noop  # noqa: E402  tasks are defined after Django is set up

_LISTENERS, _TRACER = bus._listeners, tracing._tracer  # noqa: SLF001


def _switch(is_on: bool) -> None:
    bus._listeners = _LISTENERS if is_on else {}  # noqa: SLF001
    tracing.use(_TRACER if is_on else None)


def _spent() -> int:
    """CPU nanoseconds of one enqueue in this thread."""
    began = time.thread_time_ns()
    noop.enqueue()
    return time.thread_time_ns() - began


def _round(jobs: int) -> tuple[float, float]:
    """Medians of so many enqueues with telemetry and of as many without, in microseconds."""
    found: dict[bool, list[int]] = {True: [], False: []}
    for number in range(jobs):
        # Each is first as often as second.
        for is_on in (True, False) if number % 2 else (False, True):
            _switch(is_on)
            found[is_on].append(_spent())
    return statistics.median(found[True]) / 1000, statistics.median(found[False]) / 1000


def measure(rounds: int, jobs: int) -> dict[str, Any]:
    """A pair of medians for each round, after one to warm up."""
    _round(jobs)
    # A collection would fall to one of the two.
    gc.collect()
    gc.disable()
    found = [_round(jobs) for _ in range(rounds)]
    return {"rounds": found, "sdk": "opentelemetry.sdk" in sys.modules}


if __name__ == "__main__":
    for line in sys.stdin:
        given = json.loads(line)
        given.pop("do")
        print(json.dumps(measure(**given)), flush=True)
