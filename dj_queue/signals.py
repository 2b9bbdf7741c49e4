"""Signals of our own, and whether anybody hears Django's task signals: nothing is built for nobody."""

import logging
from typing import Any

from django.dispatch import Signal
from django.tasks.signals import log_task_enqueued, log_task_finished, log_task_started

queue_paused = Signal()
"""A queue was to be paused, and that is committed: `sender=Pause, backend_alias, queue_name, changed`.

*changed* is false where it was paused already. Receivers that raise disturb nobody.
"""
queue_resumed = Signal()
"""As `queue_paused`, for the end of a pause."""

_django_logger = logging.getLogger("django.tasks")

# Django connects these itself; all they do is log. A receiver is known by the id of its function.
_ONLY_LOG = frozenset(
    id(receiver) for receiver in (log_task_enqueued, log_task_started, log_task_finished)
)


def has_listeners(signal: Signal, log_level: int) -> bool:
    """Whether sending *signal* has an effect: a receiver of the project's, or Django's log line.

    *log_level* is the one at which Django's own receiver logs this signal.
    """
    if project_listens(signal):
        return True
    return bool(signal.receivers) and _django_logger.isEnabledFor(log_level)


def project_listens(signal: Signal) -> bool:
    """Whether *signal* has a receiver besides Django's own, which only logs."""
    receivers: list[Any] = signal.receivers
    return any(identity not in _ONLY_LOG for (identity, _), *_ in receivers)
