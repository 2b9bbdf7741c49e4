"""Log records about actors that the database wakes, or cannot."""

import logging

from dj_queue import events
from dj_queue.telemetry.fields import extra as _extra

_supervisor = logging.getLogger("dj_queue.supervisor")


def listen() -> None:
    """Subscribe; called once, by `dj_queue.telemetry.logs`."""
    events.subscribe(events.ListenerDeaf, _listener_deaf)
    events.subscribe(events.ListenerRestored, _listener_restored)


def _listener_deaf(event: events.ListenerDeaf) -> None:
    _supervisor.info(
        "Notifications do not reach %s (a transaction pooler?); it polls at its polling_interval.",
        event.actor,
        extra=_extra("notify.deaf", backend=event.backend, actor=event.actor),
    )


def _listener_restored(event: events.ListenerRestored) -> None:
    _supervisor.info(
        "The database wakes %s again.",
        event.actor,
        extra=_extra("notify.restored", backend=event.backend, actor=event.actor),
    )
