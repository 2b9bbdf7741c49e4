"""Log records about concurrency limits."""

import logging

from dj_queue import events
from dj_queue.telemetry.fields import extra as _extra

_job = logging.getLogger("dj_queue.job")
_dispatcher = logging.getLogger("dj_queue.dispatcher")


def listen() -> None:
    """Subscribe; called once, by `dj_queue.telemetry.logs`."""
    events.subscribe(events.JobsUnblocked, _jobs_unblocked)
    events.subscribe(events.SlotsRepaired, _slots_repaired)


def _jobs_unblocked(event: events.JobsUnblocked) -> None:
    if not _job.isEnabledFor(logging.DEBUG):
        return
    for job_id, key in event.jobs:
        _job.debug(
            "Job %s has a slot and is ready.",
            job_id,
            extra=_extra(
                "job.unblocked", backend=event.backend, job_id=str(job_id), concurrency_key=key
            ),
        )


def _slots_repaired(event: events.SlotsRepaired) -> None:
    _dispatcher.warning(
        "%d slots of concurrency keys were held by jobs that do not live any more, and were given back.",
        event.count,
        extra=_extra("slots.repaired", backend=event.backend, count=event.count),
    )
