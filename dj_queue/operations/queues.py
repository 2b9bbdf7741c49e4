"""Pause and resume queues.

A pause is a row that claims look at; enqueues do not, so no producer waits for an operator. No row of a
job is locked or rewritten, however many wait: the time of a pause is kept beside (`PastPause`) and
taken off when somebody asks how long they have waited.
"""

from datetime import datetime
from functools import partial
from typing import cast

from django.db import IntegrityError, transaction
from django.db.models import Min
from django.db.models.functions import Coalesce
from django.dispatch import Signal

from dj_queue import events, signals
from dj_queue.config import BackendConfig
from dj_queue.models import PastPause, Pause, ReadyExecution
from dj_queue.operations.dispatch import call_after_commit, emit_after_commit, wake_queues
from dj_queue.operations.locking import in_transaction
from dj_queue.store import store_for
from dj_queue.store.shared import django_time


def pause_queue(config: BackendConfig, queue_name: str) -> bool:
    """Have no further jobs of a queue claimed; False when it was paused already. Running jobs go on."""
    _check_name(queue_name)
    is_changed = _pause_queue(config, queue_name)
    _send(signals.queue_paused, config, queue_name, changed=is_changed)
    return is_changed


def _pause_queue(config: BackendConfig, queue_name: str) -> bool:
    database = config.options.database_alias
    try:
        with transaction.atomic(using=database):
            Pause.objects.using(database).create(
                backend_alias=config.alias, queue_name=queue_name, created_at=_now(database)
            )
    except IntegrityError:
        return False
    emit_after_commit(database, events.QueuePaused(config.alias, queue_name))
    return True


def resume_queue(config: BackendConfig, queue_name: str) -> bool:
    """Have the jobs of a queue claimed again, and wake its workers; False when it was not paused."""
    _check_name(queue_name)
    database = config.options.database_alias
    is_changed = in_transaction(database, partial(_resume_queue, config, queue_name))
    _send(signals.queue_resumed, config, queue_name, changed=is_changed)
    return is_changed


def _resume_queue(config: BackendConfig, queue_name: str) -> bool:
    database = config.options.database_alias
    mine = {"backend_alias": config.alias, "queue_name": queue_name}
    pauses = Pause.objects.using(database).filter(**mine)
    # Writes first, for SQLite; and of two who resume at once, one finds the row gone.
    pauses.update(queue_name=queue_name)
    pause = pauses.select_for_update().first()
    if pause is None:
        return False
    pauses.delete()
    _remember(config, queue_name, pause.created_at)
    emit_after_commit(database, events.QueueResumed(config.alias, queue_name))
    wake_queues(config, [queue_name])
    return True


def _remember(config: BackendConfig, queue_name: str, paused_at: datetime) -> None:
    """Keep the time of the pause while it matters: while a job waits that was ready before its end."""
    database = config.options.database_alias
    mine = {"backend_alias": config.alias, "queue_name": queue_name}
    ready = ReadyExecution.objects.using(database).filter(**mine)
    oldest = ready.aggregate(since=Min(Coalesce("latency_started_at", "created_at")))["since"]
    past = PastPause.objects.using(database).filter(**mine)
    if oldest is not None:
        past.filter(resumed_at__lte=oldest).delete()
        PastPause.objects.using(database).create(
            **mine, paused_at=paused_at, resumed_at=_now(database)
        )
    else:
        past.delete()


def _send(signal: Signal, config: BackendConfig, queue_name: str, *, changed: bool) -> None:
    call_after_commit(
        config.options.database_alias,
        partial(
            signal.send_robust,
            sender=Pause,
            backend_alias=config.alias,
            queue_name=queue_name,
            changed=changed,
        ),
    )


def _now(database: str) -> datetime:
    return cast("datetime", django_time(store_for(database).now()))


def _check_name(queue_name: object) -> None:
    if not isinstance(queue_name, str) or not 0 < len(queue_name) <= 64:
        raise ValueError(f"queue_name: expected text of 1 to 64 characters, found {queue_name!r}")
