"""The slots of concurrency keys on SQLite: loops of small statements, which run inside the process.

A transaction that writes is the only one there is, so nothing has to be locked beside.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any
from uuid import UUID

from dj_queue.store.records import Said, Waiter
from dj_queue.store.shared import from_column, said_of, seconds, to_column
from dj_queue.store.slots import Holding, KeyState, Slots, Waiting

type Run = Callable[[str, Sequence[Any]], Sequence[Any]]

_GIVE_BACK = "DELETE FROM dj_queue_semaphore_holders WHERE job_id = ?"
_LOCK = """
    INSERT INTO dj_queue_semaphores
        ("key", value, "limit", period, limit_set_at, expires_at, created_at, updated_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT ("key") DO UPDATE SET
        "limit" = CASE WHEN excluded.limit_set_at >= limit_set_at THEN excluded."limit" ELSE "limit" END,
        period = CASE WHEN excluded.limit_set_at >= limit_set_at THEN excluded.period ELSE period END,
        limit_set_at = max(excluded.limit_set_at, limit_set_at),
        expires_at = max(excluded.expires_at, expires_at),
        updated_at = excluded.updated_at
"""
_STATE = """
    SELECT id, "key", "limit", value,
        (
            SELECT count(*) FROM dj_queue_semaphore_holders holder
            WHERE holder."key" = semaphore."key" AND (holder.expires_at IS NULL OR holder.expires_at > ?)
        ), EXISTS (
            SELECT 1 FROM dj_queue_blocked_executions blocked
            WHERE blocked.concurrency_key = semaphore."key" AND NOT blocked.waits
        ), period, (
            SELECT min(holder.expires_at) FROM dj_queue_semaphore_holders holder
            WHERE holder."key" = semaphore."key" AND holder.expires_at > ?
        ) AS "end [datetime]"
    FROM dj_queue_semaphores semaphore WHERE "key" = ?
"""
_WAITER = """
    SELECT id, job_id, backend_alias, queue_name, priority, executor, concurrency_key, waits
    FROM dj_queue_blocked_executions blocked
"""
_NEXT_WAITERS = f"""
    {_WAITER} WHERE concurrency_key = ? AND waits AND NOT EXISTS (
        SELECT 1 FROM dj_queue_pauses pause
        WHERE pause.backend_alias = blocked.backend_alias AND pause.queue_name = blocked.queue_name
    )
    ORDER BY priority DESC, id LIMIT ?
"""
_IMPATIENT = f"{_WAITER} WHERE concurrency_key = ? AND NOT waits"
_REMOVE_BLOCKED = "DELETE FROM dj_queue_blocked_executions WHERE id = ?"
_INSERT_READY = """
    INSERT INTO dj_queue_ready_executions
        (job_id, backend_alias, queue_name, priority, executor, created_at)
    VALUES (?, ?, ?, ?, ?, ?)
"""
# A slot that leaked earlier, and was found again by its own job, is that job's.
_INSERT_HOLDER = """
    INSERT INTO dj_queue_semaphore_holders (job_id, "key", expires_at, created_at) VALUES (?, ?, ?, ?)
    ON CONFLICT (job_id) DO UPDATE SET "key" = excluded."key"
"""
_REMOVE_ENDED = 'DELETE FROM dj_queue_semaphore_holders WHERE "key" = ? AND expires_at <= ?'
_FINISH_JOB = "UPDATE dj_queue_jobs SET finished_at = ?, updated_at = ? WHERE id = ?"
_NOTE_VALUE = "UPDATE dj_queue_semaphores SET value = ? WHERE id = ?"
_WRITE_NOTHING = "DELETE FROM dj_queue_semaphores WHERE 0"
_USED = """
    SELECT (SELECT count(*) FROM dj_queue_semaphore_holders WHERE "key" = ?)
        + (SELECT count(*) FROM dj_queue_blocked_executions WHERE concurrency_key = ?)
"""
_NEXT_KEY = """
    SELECT min(concurrency_key) FROM dj_queue_blocked_executions WHERE concurrency_key > ?
"""
_SAID = """
    SELECT job.concurrency_key, job.concurrency_limit, job.concurrency_duration, job.created_at
    FROM dj_queue_blocked_executions blocked JOIN dj_queue_jobs job ON job.id = blocked.job_id
    WHERE blocked.concurrency_key = ? ORDER BY waits, blocked.priority DESC, blocked.id LIMIT 1
"""
_IS_LEAK = """
    CASE WHEN holder.job_id IS NULL THEN coalesce(holder.expires_at <= ?, 1)
    ELSE NOT EXISTS (
        SELECT 1 FROM dj_queue_ready_executions ready WHERE ready.job_id = holder.job_id
    ) AND NOT EXISTS (
        SELECT 1 FROM dj_queue_claimed_executions claim WHERE claim.job_id = holder.job_id
    ) END
"""
_LEAKS = f"""
    SELECT holder.id, holder."key", {_IS_LEAK} FROM dj_queue_semaphore_holders holder
    WHERE holder.id > ? ORDER BY holder.id LIMIT ?
"""
_IS_STILL_LEAK = f"SELECT {_IS_LEAK} FROM dj_queue_semaphore_holders holder WHERE holder.id = ?"
_REMOVE_HOLDER = "DELETE FROM dj_queue_semaphore_holders WHERE id = ?"
_UNUSED = """
    SELECT "key" FROM dj_queue_semaphores semaphore
    WHERE expires_at <= ? AND NOT EXISTS (
        SELECT 1 FROM dj_queue_semaphore_holders holder WHERE holder."key" = semaphore."key"
    ) AND NOT EXISTS (
        SELECT 1 FROM dj_queue_blocked_executions blocked
        WHERE blocked.concurrency_key = semaphore."key"
    )
"""
_SCHEDULED_KEYS = """
    SELECT DISTINCT concurrency_key FROM dj_queue_scheduled_executions
    WHERE concurrency_key IS NOT NULL
"""
_REMOVE_SEMAPHORE = 'DELETE FROM dj_queue_semaphores WHERE "key" = ?'


class SQLiteSlots(Slots):
    """On any connection whose *run* returns the rows of a statement."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def give_back(self, job_ids: Sequence[UUID]) -> None:
        for job_id in job_ids:
            self._run(_GIVE_BACK, (job_id.hex,))

    def lock(self, said: Sequence[Said]) -> None:
        now = datetime.now(UTC)
        for each in said:
            end = to_column(now + timedelta(seconds=each.duration))
            row = (each.key, each.limit, each.limit, each.period, to_column(each.at), end)
            self._run(_LOCK, (*row, to_column(now), to_column(now)))

    def states(self, keys: Sequence[str]) -> list[KeyState]:
        now = datetime.now(UTC)
        moment = to_column(now)
        rows = chain.from_iterable(self._run(_STATE, (moment, moment, key)) for key in keys)
        return [
            KeyState._make([*row[:5], bool(row[5]), row[6], seconds(now, from_column(row[7]))])
            for row in rows
        ]

    def next_waiters(self, wanted: Mapping[str, int]) -> list[Waiter]:
        rows = chain.from_iterable(
            [*self._run(_NEXT_WAITERS, (key, room)), *self._run(_IMPATIENT, (key,))]
            for key, room in wanted.items()
        )
        return [Waiter._make([row[0], UUID(hex=row[1]), *row[2:7], bool(row[7])]) for row in rows]

    def start(self, waiters: Sequence[Waiter], periods: Mapping[str, int | None]) -> None:
        moment = datetime.now(UTC)
        now = to_column(moment)
        for each in waiters:
            job_id = each.job_id.hex
            self._run(_REMOVE_BLOCKED, (each.id,))
            place = (each.backend_alias, each.queue_name, each.priority, each.executor)
            self._run(_INSERT_READY, (job_id, *place, now))
            period = periods[each.key]
            if period is None:
                self._run(_INSERT_HOLDER, (job_id, each.key, None, now))
            else:
                end = to_column(moment + timedelta(seconds=period))
                self._run(_INSERT_HOLDER, (None, each.key, end, now))

    def discard(self, waiters: Sequence[Waiter]) -> None:
        now = to_column(datetime.now(UTC))
        for each in waiters:
            self._run(_REMOVE_BLOCKED, (each.id,))
            self._run(_FINISH_JOB, (now, now, each.job_id.hex))

    def note_values(self, values: Mapping[int, int]) -> None:
        for semaphore_id, value in values.items():
            self._run(_NOTE_VALUE, (value, semaphore_id))

    def remove_ended(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._run(_REMOVE_ENDED, (key, _now()))

    def used(self, keys: Sequence[str]) -> dict[str, int]:
        # What is decided by this is written next; a transaction that only then says that it writes fails
        # at once if somebody else has written meanwhile.
        self._run(_WRITE_NOTHING, ())
        found = {key: self._run(_USED, (key, key))[0][0] for key in keys}
        return {key: number for key, number in found.items() if number}

    def waiting(self, after: str, limit: int) -> list[Waiting]:
        found: list[Waiting] = []
        while len(found) < limit and (after := self._run(_NEXT_KEY, (after,))[0][0]) is not None:
            [row] = self._run(_SAID, (after,))
            state = next(iter(self.states([after])), None)
            found.append(Waiting(said_of(row), state))
        return found

    def leaks(self, after: int, limit: int) -> tuple[list[Holding], int | None]:
        rows = self._run(_LEAKS, (_now(), after, limit))
        return [Holding(*row[:2]) for row in rows if row[2]], rows[-1][0] if rows else None

    def leaks_among(self, holder_ids: Sequence[int]) -> list[int]:
        now = _now()
        return [
            holder_id
            for holder_id in holder_ids
            if any(row[0] for row in self._run(_IS_STILL_LEAK, (now, holder_id)))
        ]

    def remove_holders(self, holder_ids: Sequence[int]) -> None:
        for holder_id in holder_ids:
            self._run(_REMOVE_HOLDER, (holder_id,))

    def unused(self, limit: int) -> list[str]:
        coming = {row[0] for row in self._run(_SCHEDULED_KEYS, ())}
        keys = (row[0] for row in self._run(f"{_UNUSED} LIMIT ?", (_now(), limit)))
        return [key for key in keys if key not in coming]

    def remove_unused(self, keys: Sequence[str]) -> int:
        now = _now()
        still = [key for key in keys if self._run(f'{_UNUSED} AND semaphore."key" = ?', (now, key))]
        for key in still:
            self._run(_REMOVE_SEMAPHORE, (key,))
        return len(still)


def slots_of(database: sqlite3.Connection) -> SQLiteSlots:
    """The slots, on a session's connection."""
    return SQLiteSlots(lambda statement, values: database.execute(statement, values).fetchall())


def _now() -> datetime | None:
    return to_column(datetime.now(UTC))
