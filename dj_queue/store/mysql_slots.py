"""The slots of concurrency keys on MySQL and MariaDB: few statements, rows found by their keys.

See `mysql_sql` for why rows that are changed are named by a JSON document. What is only read is read
without a lock, by a statement that begins after the semaphores were locked.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import batched
from typing import Any, cast
from uuid import UUID

from dj_queue.store.mysql_exchange import clock, insert_rows
from dj_queue.store.mysql_sql import rows_of, with_rows
from dj_queue.store.records import Said, Waiter
from dj_queue.store.shared import from_column, said_of, seconds, to_column
from dj_queue.store.slots import Holding, KeyState, Slots, Waiting

# A statement has a part for each key; more than so many take long to read.
_PARTS_PER_STATEMENT = 200

_HOLDERS_OF = "SELECT id FROM dj_queue_semaphore_holders WHERE job_id IN %s"
_REMOVE_HOLDERS = f"DELETE holder FROM {rows_of('dj_queue_semaphore_holders', 'holder')}"

# In the order of the rows, which is the same in every session.
_LOCK = """
    INSERT INTO dj_queue_semaphores
        (`key`, value, `limit`, period, limit_set_at, expires_at, created_at, updated_at)
    VALUES """
_LOCK_EXISTING = """
    ON DUPLICATE KEY UPDATE
        `limit` = IF(VALUES(limit_set_at) >= limit_set_at, VALUES(`limit`), `limit`),
        period = IF(VALUES(limit_set_at) >= limit_set_at, VALUES(period), period),
        limit_set_at = GREATEST(limit_set_at, VALUES(limit_set_at)),
        expires_at = GREATEST(expires_at, VALUES(expires_at)),
        updated_at = VALUES(updated_at)
"""

_STATE = """
    semaphore.id, semaphore.`key`, semaphore.`limit`, semaphore.value,
    (
        SELECT COUNT(*) FROM dj_queue_semaphore_holders holder
        WHERE holder.`key` = semaphore.`key` AND (holder.expires_at IS NULL OR holder.expires_at > %s)
    ), EXISTS (
        SELECT 1 FROM dj_queue_blocked_executions blocked
        WHERE blocked.concurrency_key = semaphore.`key` AND blocked.waits = 0
    ), semaphore.period, (
        SELECT MIN(holder.expires_at) FROM dj_queue_semaphore_holders holder
        WHERE holder.`key` = semaphore.`key` AND holder.expires_at > %s
    )
"""
_STATES = f"SELECT {_STATE} FROM dj_queue_semaphores semaphore WHERE semaphore.`key` IN %s"

_NEXT_WAITERS = """(
        SELECT id, job_id, backend_alias, queue_name, priority, executor, concurrency_key, waits
        FROM dj_queue_blocked_executions blocked FORCE INDEX (djq_blocked_next)
        WHERE concurrency_key = %s AND waits = 1 AND NOT EXISTS (
            SELECT 1 FROM dj_queue_pauses pause
            WHERE pause.backend_alias = blocked.backend_alias AND pause.queue_name = blocked.queue_name
        )
        ORDER BY priority DESC, id LIMIT %s FOR UPDATE SKIP LOCKED
    ) UNION ALL (
        SELECT id, job_id, backend_alias, queue_name, priority, executor, concurrency_key, waits
        FROM dj_queue_blocked_executions FORCE INDEX (djq_blocked_next)
        WHERE concurrency_key = %s AND waits = 0 FOR UPDATE SKIP LOCKED
    )"""

_REMOVE_BLOCKED = f"DELETE blocked FROM {rows_of('dj_queue_blocked_executions', 'blocked')}"
_INSERT_READY = """
    INSERT INTO dj_queue_ready_executions
        (job_id, backend_alias, queue_name, priority, executor, created_at)
    VALUES """
_INSERT_HOLDERS = """
    INSERT INTO dj_queue_semaphore_holders (job_id, `key`, expires_at, created_at) VALUES """
_ENDED = "SELECT id FROM dj_queue_semaphore_holders WHERE `key` IN %s AND expires_at <= %s"
# A slot that leaked earlier, and was found again by its own job, is that job's.
_SAME_HOLDERS = " ON DUPLICATE KEY UPDATE `key` = VALUES(`key`)"

_FINISH_JOBS = """
    UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (id CHAR(32) PATH '$')) given
    STRAIGHT_JOIN dj_queue_jobs job FORCE INDEX (PRIMARY) ON job.id = LOWER(HEX(UNHEX(given.id)))
    SET job.finished_at = %s, job.updated_at = %s
"""
_NOTE_VALUES = """
    UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (id BIGINT PATH '$[0]', value INT PATH '$[1]')) given
    STRAIGHT_JOIN dj_queue_semaphores semaphore FORCE INDEX (PRIMARY) ON semaphore.id = given.id
    SET semaphore.value = given.value
"""

_USED = """
    SELECT `key`, COUNT(*) FROM (
        SELECT `key` FROM dj_queue_semaphore_holders WHERE `key` IN %s
        UNION ALL
        SELECT concurrency_key FROM dj_queue_blocked_executions WHERE concurrency_key IN %s
    ) used GROUP BY `key`
"""
# Neither server skips from key to key in a recursive query; for DISTINCT they do.
_WAITING_KEYS = """
    SELECT DISTINCT concurrency_key FROM dj_queue_blocked_executions FORCE INDEX (djq_blocked_next)
    WHERE concurrency_key > %s ORDER BY concurrency_key LIMIT %s
"""
_FIRST = """
    (SELECT job_id FROM dj_queue_blocked_executions FORCE INDEX (djq_blocked_next)
    WHERE concurrency_key = %s ORDER BY waits, priority DESC, id LIMIT 1)"""
_SAID = """
    SELECT concurrency_key, concurrency_limit, concurrency_duration, created_at FROM dj_queue_jobs
    WHERE id IN %s
"""

_IS_LEAK = """
    CASE WHEN holder.job_id IS NULL THEN COALESCE(holder.expires_at <= %s, 1)
    ELSE NOT EXISTS (
        SELECT 1 FROM dj_queue_ready_executions ready WHERE ready.job_id = holder.job_id
    ) AND NOT EXISTS (
        SELECT 1 FROM dj_queue_claimed_executions claim WHERE claim.job_id = holder.job_id
    ) END
"""
_LEAKS = f"""
    SELECT holder.id, holder.`key`, {_IS_LEAK} FROM dj_queue_semaphore_holders holder
    WHERE holder.id > %s ORDER BY holder.id LIMIT %s
"""
_LEAKS_AMONG = f"""
    SELECT holder.id FROM dj_queue_semaphore_holders holder WHERE {_IS_LEAK} AND holder.id IN %s
"""

_IS_UNUSED = """
    semaphore.expires_at <= %s AND NOT EXISTS (
        SELECT 1 FROM dj_queue_semaphore_holders holder WHERE holder.`key` = semaphore.`key`
    ) AND NOT EXISTS (
        SELECT 1 FROM dj_queue_blocked_executions blocked
        WHERE blocked.concurrency_key = semaphore.`key`
    )
"""
_UNUSED = f"SELECT semaphore.`key` FROM dj_queue_semaphores semaphore WHERE {_IS_UNUSED} LIMIT %s"
_SCHEDULED = """
    SELECT DISTINCT concurrency_key FROM dj_queue_scheduled_executions WHERE concurrency_key IN %s
"""
_STILL_UNUSED = f"""
    SELECT semaphore.id FROM dj_queue_semaphores semaphore FORCE INDEX (PRIMARY)
    WHERE semaphore.id IN %s AND {_IS_UNUSED}
"""
_LOCK_UNUSED = """
    SELECT id FROM dj_queue_semaphores FORCE INDEX (`key`) WHERE `key` = %s FOR UPDATE SKIP LOCKED
"""
_REMOVE_SEMAPHORES = f"DELETE semaphore FROM {rows_of('dj_queue_semaphores', 'semaphore')}"


class MySQLSlots(Slots):
    """On the cursor of a connection of Django's or of a session."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def give_back(self, job_ids: Sequence[UUID]) -> None:
        rows = self._rows(_HOLDERS_OF, [job_id.hex for job_id in job_ids])
        self.remove_holders([row[0] for row in rows])

    def lock(self, said: Sequence[Said]) -> None:
        now = self._now
        rows = [
            (
                each.key, each.limit, each.limit, each.period, to_column(each.at),
                to_column(now + timedelta(seconds=each.duration)), to_column(now), to_column(now),
            )
            for each in said
        ]  # fmt: skip
        self._cursor.execute(with_rows(_LOCK, len(rows)) + _LOCK_EXISTING, rows)

    def states(self, keys: Sequence[str]) -> list[KeyState]:
        moment = to_column(self._now)
        return [
            KeyState._make(
                [*row[:5], bool(row[5]), row[6], seconds(self._now, from_column(row[7]))]
            )
            for row in self._rows(_STATES, moment, moment, list(keys))
        ]

    def next_waiters(self, wanted: Mapping[str, int]) -> list[Waiter]:
        found: list[Waiter] = []
        for keys in batched(wanted, _PARTS_PER_STATEMENT):
            values = [value for key in keys for value in (key, wanted[key], key)]
            rows = self._rows(" UNION ALL ".join([_NEXT_WAITERS] * len(keys)), *values)
            found += [
                Waiter._make([row[0], UUID(hex=row[1]), *row[2:7], bool(row[7])]) for row in rows
            ]
        return found

    def start(self, waiters: Sequence[Waiter], periods: Mapping[str, int | None]) -> None:
        # A period counts from now, and not from before the wait for the lock.
        now = clock(self._cursor) if any(periods.values()) else self._now
        moment = to_column(now)
        self._remove(_REMOVE_BLOCKED, [waiter.id for waiter in waiters])
        ready = [
            (each.job_id.hex, each.backend_alias, each.queue_name, each.priority, each.executor, moment)
            for each in waiters
        ]  # fmt: skip
        insert_rows(self._cursor, _INSERT_READY, ready)
        held = [
            (None, each.key, to_column(now + timedelta(seconds=period)), moment)
            if (period := periods[each.key]) is not None
            else (each.job_id.hex, each.key, None, moment)
            for each in waiters
        ]
        self._cursor.execute(with_rows(_INSERT_HOLDERS, len(held)) + _SAME_HOLDERS, held)

    def discard(self, waiters: Sequence[Waiter]) -> None:
        moment = to_column(self._now)
        self._remove(_REMOVE_BLOCKED, [waiter.id for waiter in waiters])
        ids = json.dumps([waiter.job_id.hex for waiter in waiters])
        self._cursor.execute(_FINISH_JOBS, (ids, moment, moment))

    def note_values(self, values: Mapping[int, int]) -> None:
        self._cursor.execute(_NOTE_VALUES, (json.dumps(list(values.items())),))

    def remove_ended(self, keys: Sequence[str]) -> None:
        rows = self._rows(_ENDED, list(keys), to_column(self._now))
        self.remove_holders([row[0] for row in rows])

    def used(self, keys: Sequence[str]) -> dict[str, int]:
        return dict(self._rows(_USED, list(keys), list(keys)))

    def waiting(self, after: str, limit: int) -> list[Waiting]:
        keys = [row[0] for row in self._rows(_WAITING_KEYS, after, limit)]
        if not keys:
            return []
        states = {state.key: state for state in self.states(keys)}
        said = self._said(keys)
        return [Waiting(said[key], states.get(key)) for key in keys if key in said]

    def _said(self, keys: Sequence[str]) -> dict[str, Said]:
        """What the next job of each key says."""
        jobs: list[str] = []
        for some in batched(keys, _PARTS_PER_STATEMENT):
            found = self._rows(f"SELECT {', '.join([_FIRST] * len(some))}", *some)
            jobs += [job_id for job_id in found[0] if job_id is not None]
        rows = self._rows(_SAID, [UUID(hex=job_id).hex for job_id in jobs]) if jobs else ()
        return {row[0]: said_of(row) for row in rows}

    def leaks(self, after: int, limit: int) -> tuple[list[Holding], int | None]:
        rows = self._rows(_LEAKS, to_column(self._now), after, limit)
        return [Holding(*row[:2]) for row in rows if row[2]], rows[-1][0] if rows else None

    def leaks_among(self, holder_ids: Sequence[int]) -> list[int]:
        rows = self._rows(_LEAKS_AMONG, to_column(self._now), list(holder_ids))
        return [row[0] for row in rows]

    def remove_holders(self, holder_ids: Sequence[int]) -> None:
        self._remove(_REMOVE_HOLDERS, holder_ids)

    def unused(self, limit: int) -> list[str]:
        keys = [row[0] for row in self._rows(_UNUSED, to_column(self._now), limit)]
        coming = {row[0] for row in self._rows(_SCHEDULED, keys)} if keys else set()
        return [key for key in keys if key not in coming]

    def remove_unused(self, keys: Sequence[str]) -> int:
        # Locked one by one, and those that somebody uses passed over: there is no hurry.
        locked = [row[0] for key in keys for row in self._rows(_LOCK_UNUSED, key)]
        if not locked:
            return 0
        still = [row[0] for row in self._rows(_STILL_UNUSED, locked, to_column(self._now))]
        self._remove(_REMOVE_SEMAPHORES, still)
        return len(still)

    @cached_property
    def _now(self) -> datetime:
        return clock(self._cursor)

    def _rows(self, statement: str, *parameters: object) -> Sequence[Any]:
        self._cursor.execute(statement, parameters)
        return cast("Sequence[Any]", self._cursor.fetchall())

    def _remove(self, statement: str, ids: Sequence[int]) -> None:
        if ids:
            self._cursor.execute(statement, (json.dumps(list(ids)),))
