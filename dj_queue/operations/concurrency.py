"""Slots by hand, and the upkeep of concurrency limits for scripts; a documented import path.

A slot that is taken here belongs to no job. It is given back by `semaphore_release`, or ends when its
duration is over.
"""

from datetime import datetime, timedelta
from typing import cast

from dj_queue.config import backend_config
from dj_queue.models import BlockedExecution, SemaphoreHolder
from dj_queue.operations import limits
from dj_queue.store import store_for
from dj_queue.store.records import RATE, Said, Settled
from dj_queue.store.shared import django_time
from dj_queue.store.slots import Slots, unchanged


def semaphore_acquire(
    key: str, *, limit: int, duration_seconds: float, backend_alias: str = "default"
) -> bool:
    """Take one of the *limit* slots of *key* for at most *duration_seconds*; whether there was one.

    Jobs that wait for the key go first.
    """
    database = _database(backend_alias)
    now = store_for(database).now()
    end = now + timedelta(seconds=duration_seconds)

    def work(slots: Slots) -> tuple[bool, Settled]:
        settled = _settle(database, slots, Said(key, limit, round(duration_seconds), now))
        [state] = slots.states([key])
        if state.free <= 0:
            return False, settled
        SemaphoreHolder.objects.using(database).create(
            key=key,
            expires_at=cast("datetime", django_time(end)),
            created_at=cast("datetime", django_time(now)),
        )
        slots.note_values({state.id: state.free - 1})
        return True, settled

    is_taken, settled = store_for(database).in_slots(work)
    limits.tell(database, settled)
    return is_taken


def semaphore_release(
    key: str, *, duration_seconds: float = 0.0, backend_alias: str = "default"
) -> bool:
    """Give back a slot that `semaphore_acquire` took, and hand it on; False when there is none.

    Slots of jobs are not touched: they go back when the job ends. Nor are those of a rate limit, which only
    time gives back.
    """
    if key.startswith(RATE):
        return False
    database = _database(backend_alias)
    said = unchanged(key)._replace(duration=round(duration_seconds))

    def work(slots: Slots) -> tuple[bool, Settled]:
        slots.lock([said])
        by_hand = SemaphoreHolder.objects.using(database).filter(key=key, job=None)
        oldest = by_hand.order_by("expires_at", "id").values_list("id", flat=True).first()
        if oldest is None:
            return False, Settled()
        slots.remove_holders([oldest])
        return True, _settle(database, slots, said)

    is_given, settled = store_for(database).in_slots(work)
    limits.tell(database, settled)
    return is_given


def unblock_next_blocked_job(
    key: str, *, limit: int, duration_seconds: float, backend_alias: str = "default"
) -> bool:
    """Hand out the free slots of *key*, which has *limit* from now on; whether a job got one."""
    database = _database(backend_alias)
    said = Said(key, limit, round(duration_seconds), store_for(database).now())
    return bool(limits.settle(database, [said]).started)


def cleanup_expired_semaphores(*, backend_alias: str = "default") -> int:
    """Give back leaked slots, and delete semaphores that are past their time and unused; how many."""
    database = _database(backend_alias)
    store = store_for(database)
    place: int | None = 0
    while place is not None:
        found = limits.repair(store, place)
        limits.tell(database, found.settled)
        place = found.last
    total = 0
    while removed := limits.remove_unused(store):
        total += removed
    return total


def promote_expired_blocked_jobs(*, batch_size: int = 500, backend_alias: str = "default") -> int:
    """Settle the keys of up to *batch_size* jobs that have waited past their duration; how many started."""
    database = _database(backend_alias)
    now = django_time(store_for(database).now())
    late = BlockedExecution.objects.using(database).filter(expires_at__lte=now)
    jobs = [row.job for row in late.select_related("job").order_by("id")[:batch_size]]
    return len(limits.settle(database, [limits.said_by_job(job) for job in jobs]).started)


def _settle(database: str, slots: Slots, said: Said) -> Settled:
    settled = slots.settle([said])
    store_for(database).announce_settled(settled)
    return settled


def _database(backend_alias: str) -> str:
    return backend_config(backend_alias).options.database_alias
