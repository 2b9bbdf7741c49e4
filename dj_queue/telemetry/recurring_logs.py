"""Log records about recurring tasks."""

import logging

from dj_queue import events
from dj_queue.telemetry.fields import extra as _extra

_scheduler = logging.getLogger("dj_queue.scheduler")


def listen() -> None:
    """Subscribe; called once, by `dj_queue.telemetry.logs`."""
    events.subscribe(events.RecurringTaskFired, _fired)
    events.subscribe(events.RecurringTaskFailed, _failed)
    events.subscribe(events.RecurringTaskRejected, _rejected)
    events.subscribe(events.RecurringTimesMissed, _missed)
    events.subscribe(events.ChoreFailed, _chore_failed)


def _fired(event: events.RecurringTaskFired) -> None:
    _scheduler.debug(
        "Fired %s of backend %s for %s as job %s.",
        event.key,
        event.backend,
        event.run_at.isoformat(),
        event.job_id,
        extra=_extra(
            "recurring.fired",
            backend=event.backend,
            key=event.key,
            run_at=event.run_at.isoformat(),
            job_id=str(event.job_id),
        ),
    )


def _failed(event: events.RecurringTaskFailed) -> None:
    _scheduler.error(
        "Recurring task %s of backend %s cannot be fired (tried again in %.0f s): %s",
        event.key,
        event.backend,
        event.retry_in.total_seconds(),
        event.error,
        exc_info=event.error,
        extra=_extra("recurring.failed", backend=event.backend, key=event.key),
    )


def _rejected(event: events.RecurringTaskRejected) -> None:
    _scheduler.error(
        "Recurring task %s of backend %s does not fire: %s",
        event.key or "(of a module)",
        event.backend,
        event.error,
        extra=_extra("recurring.rejected", backend=event.backend, key=event.key),
    )


def _missed(event: events.RecurringTimesMissed) -> None:
    _scheduler.warning(
        "Recurring task %s of backend %s was not fired since %s; %d of the times are made up.",
        event.key,
        event.backend,
        event.since.isoformat(),
        event.made_up,
        extra=_extra(
            "recurring.missed",
            backend=event.backend,
            key=event.key,
            since=event.since.isoformat(),
            made_up=event.made_up,
        ),
    )


def _chore_failed(event: events.ChoreFailed) -> None:
    _scheduler.error(
        "%s of backend %s could not clear away what is old: %s",
        event.actor,
        event.backend,
        event.error,
        exc_info=event.error,
        extra=_extra("chore.failed", backend=event.backend, actor=event.actor),
    )
