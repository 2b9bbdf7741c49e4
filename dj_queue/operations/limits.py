"""Concurrency limits around the store's slots: when keys are settled, and who is told.

A caller's transaction never locks a semaphore. What it writes about limited jobs is settled right after
its commit, in a short transaction of its own. Should the process die between the two, or the settling
fail, the leader's dispatcher sees to it (`sweep`).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, cast
from uuid import UUID

from django.db import connections, transaction

from dj_queue import events
from dj_queue.models import BlockedExecution, Job, SemaphoreHolder
from dj_queue.states import DispatchOutcome
from dj_queue.store import Session, Store, store_for
from dj_queue.store.records import RATE, ClaimedJob, Said, Settled, Waiter
from dj_queue.store.shared import django_time, from_column
from dj_queue.store.slots import ROWS_PER_STATEMENT, Slots, unchanged

type Door = Session | Store
"""A way to the slots: a connection of the runtime's, or Django's of this thread."""

KEYS_PER_STEP = 1000
"""How many keys or slots one step of the upkeep looks at."""

# How many of the newest callbacks of a transaction are looked at for one to join.
_CALLBACKS = 10


def settle(database: str, said: Sequence[Said]) -> Settled:
    """Hand out what is free of these keys, and tell everybody who waits for such jobs.

    On Django's connection, in a transaction of its own: the keys are locked until it ends.
    """
    settled = _settle(store_for(database), said)
    tell(database, settled)
    return settled


def _settle(door: Door, said: Sequence[Said]) -> Settled:
    def work(slots: Slots) -> Settled:
        settled = slots.settle(said)
        door.announce_settled(settled)
        return settled

    return door.in_slots(work)


def tell(
    database: str,
    settled: Settled,
    *,
    claimed: Iterable[ClaimedJob] = (),
    enqueued: Iterable[UUID] = (),
) -> None:
    """Wake the workers of this process for jobs that got a slot, which everybody can see by now.

    Not for those that were *claimed* in the same transaction. Those that were *enqueued* in it have never
    been seen to wait.
    """
    if not settled.started:
        return
    for alias, queues in settled.queues(but={job.id for job in claimed}).items():
        events.emit(events.JobsReady(database, alias, queues))
    if not events.is_wanted(events.JobsUnblocked):
        return
    new = set(enqueued)
    by_backend: dict[str, list[Waiter]] = defaultdict(list)
    for waiter in settled.started:
        if waiter.job_id not in new:
            by_backend[waiter.backend_alias].append(waiter)
    for alias, waiters in by_backend.items():
        unblocked = tuple((waiter.job_id, waiter.key) for waiter in waiters)
        events.emit(events.JobsUnblocked(alias, unblocked))


class _AfterCommit:
    """Settles what one transaction wrote, once for all of its enqueues."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._said: list[Said] = []
        # Django 6.0 takes a callback that failed for a function, and names it by this.
        self.__qualname__ = settle_after_commit.__qualname__

    def add(self, said: Iterable[Said]) -> None:
        self._said += said

    def __call__(self) -> None:
        settle(self._database, self._said)


def settle_after_commit(database: str, said: Sequence[Said]) -> None:
    """Settle these keys when the current transaction commits; now if there is none.

    An error is logged by Django and not raised: what was committed stays so, and the sweep settles it.
    """
    connection = connections[database]
    if not said or not (connection.in_atomic_block or connection.get_autocommit()):
        return  # Nobody hears a commit that is made by hand: the sweep finds the jobs.
    newest: list[Any] = connection.run_on_commit[-_CALLBACKS:]
    for savepoints, callback, _ in reversed(newest):
        # Of the same savepoints: a callback goes when one of its own is rolled back.
        if isinstance(callback, _AfterCommit) and savepoints == set(connection.savepoint_ids):
            callback.add(said)
            return
    settling = _AfterCommit(database)
    settling.add(said)
    transaction.on_commit(settling, using=database, robust=True)


def release_holders(database: str, job_ids: Sequence[UUID]) -> None:
    """Give back the slots of jobs that are deleted, or end otherwise than in a worker.

    In the caller's transaction, after whose commit the next ones get them.
    """
    holders = SemaphoreHolder.objects.using(database).filter(job_id__in=job_ids)
    keys = set(holders.values_list("key", flat=True))
    if keys:
        holders.delete()
        settle_after_commit(database, [unchanged(key) for key in keys])


def place(database: str, jobs: Sequence[Job], now: datetime) -> dict[UUID, DispatchOutcome]:
    """Have stored *jobs* with a key, which have no row of executions, compete for slots; where each is.

    `BLOCKED` until the caller's transaction commits and the keys are settled. `DISCARDED`, and nothing is
    written about it, is a job whose policy is not to wait and for which there seems to be no slot now. One
    for which there seems to be one waits if somebody else is quicker: it is not new, and must not be lost.
    """
    if not jobs:
        return {}
    discards = {
        job.concurrency_key or "" for job in jobs if job.concurrency_on_conflict == "discard"
    }
    store = store_for(database)
    used = store.see_slots(lambda slots: slots.used(sorted(discards))) if discards else {}
    outcomes: dict[UUID, DispatchOutcome] = {}
    for job in jobs:
        key, limit = job.concurrency_key or "", job.concurrency_limit or 1
        is_full = used.get(key, 0) >= limit
        outcomes[job.id] = (
            DispatchOutcome.DISCARDED
            if is_full and job.concurrency_on_conflict == "discard"
            else DispatchOutcome.BLOCKED
        )
        used[key] = used.get(key, 0) + (outcomes[job.id] is DispatchOutcome.BLOCKED)
    blocked = [job for job in jobs if outcomes[job.id] is DispatchOutcome.BLOCKED]
    BlockedExecution.objects.using(database).bulk_create(
        (_blocked(job, now) for job in blocked), batch_size=ROWS_PER_STATEMENT
    )
    settle_after_commit(database, [said_by_job(job) for job in blocked])
    _wake_dispatchers(database, blocked)
    return outcomes


def _wake_dispatchers(database: str, blocked: Iterable[Job]) -> None:
    """Have the dispatcher look when slots of rate limits end, for which *blocked* jobs may wait."""
    for alias in {job.backend_alias for job in blocked if has_rate(job)}:
        store_for(database).announce_scheduled(alias)
        connection = connections[database]
        if connection.in_atomic_block or connection.get_autocommit():
            scheduled = events.JobsScheduled(database, alias)
            transaction.on_commit(partial(events.emit, scheduled), using=database)


def _blocked(job: Job, now: datetime) -> BlockedExecution:
    end = now + timedelta(seconds=job.concurrency_duration or 0)
    return BlockedExecution(
        job_id=job.id,
        backend_alias=job.backend_alias,
        queue_name=job.queue_name,
        priority=job.priority,
        executor=job.executor,
        concurrency_key=cast("str", job.concurrency_key),
        expires_at=cast("datetime", django_time(end)),
        created_at=cast("datetime", django_time(now)),
    )


def has_rate(job: Job) -> bool:
    """Whether a stored job has a rate limit, so that each time it becomes ready counts."""
    return (job.concurrency_key or "").startswith(RATE)


def said_by_job(job: Job) -> Said:
    """What a stored job with a key says of it."""
    return Said(
        cast("str", job.concurrency_key),
        job.concurrency_limit or 1,
        job.concurrency_duration or 0,
        cast("datetime", from_column(job.created_at)),
    )


class Sweep(NamedTuple):
    """What a look for waiters that could start found."""

    settled: Settled
    last: str | None
    """The last key that was looked at; None when there was none."""
    is_all: bool
    """Whether there are no keys with waiters after that."""
    seconds_to_next: float | None
    """Until somebody may start because a slot of a rate limit ends; None when that is not foreseen."""


def sweep(door: Door, after: str) -> Sweep:
    """Settle keys that have both waiters and free slots, among the next ones *after* a key.

    A look without a lock comes first, so a key that is as it should be is not touched.
    """
    due = door.see_slots(lambda slots: slots.due(after, KEYS_PER_STEP))
    settled = _settle(door, due.said) if due.said else Settled()
    return Sweep(settled, due.last, due.is_all, due.seconds_to_next)


class Repair(NamedTuple):
    """What a look for leaked slots found."""

    repaired: int
    settled: Settled
    last: int | None
    """The last slot that was looked at; None when there are no more."""


def repair(door: Door, after: int) -> Repair:
    """Give back slots that no living job holds, among the next ones *after* a slot, and hand them out."""
    leaks, last = door.see_slots(lambda slots: slots.leaks(after, KEYS_PER_STEP))
    if not leaks:
        return Repair(0, Settled(), last)

    def work(slots: Slots) -> Repair:
        repaired, settled = slots.repair(leaks)
        door.announce_settled(settled)
        return Repair(repaired, settled, last)

    return door.in_slots(work)


def remove_unused(door: Door) -> int:
    """Delete up to 1000 semaphores that are past their time and nobody uses; how many."""
    keys = door.see_slots(lambda slots: slots.unused(KEYS_PER_STEP))
    return door.in_slots(lambda slots: slots.remove_unused(keys)) if keys else 0
