"""The slots of concurrency keys on PostgreSQL: each step is one statement, lists travel as arrays.

Nothing is joined to a large table: see `FINISH` in `postgres_sql`. Arrays are in the order of their ids.

What is counted is counted by a statement that begins after the semaphores were locked, so it sees what was
committed while that waited.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, LiteralString
from uuid import UUID

from dj_queue.store.records import Said, Waiter
from dj_queue.store.slots import Holding, KeyState, Slots, Waiting

type Run = Callable[[LiteralString, Sequence[object]], Sequence[tuple[Any, ...]]]

_GIVE_BACK: LiteralString = """
    DELETE FROM dj_queue_semaphore_holders WHERE job_id = ANY(%s::uuid[]) RETURNING id
"""

# In the order of the lists, which is the same in every session.
_LOCK: LiteralString = """
    INSERT INTO dj_queue_semaphores AS semaphore
        (key, value, "limit", period, limit_set_at, expires_at, created_at, updated_at)
    SELECT key, "limit", "limit", period, said_at, clock_timestamp() + duration * interval '1 second',
        clock_timestamp(), clock_timestamp()
    FROM unnest(%s::text[], %s::integer[], %s::integer[], %s::timestamptz[], %s::integer[])
        AS said (key, "limit", duration, said_at, period)
    ON CONFLICT (key) DO UPDATE SET
        "limit" = CASE WHEN excluded.limit_set_at >= semaphore.limit_set_at
            THEN excluded."limit" ELSE semaphore."limit" END,
        period = CASE WHEN excluded.limit_set_at >= semaphore.limit_set_at
            THEN excluded.period ELSE semaphore.period END,
        limit_set_at = greatest(excluded.limit_set_at, semaphore.limit_set_at),
        expires_at = greatest(excluded.expires_at, semaphore.expires_at),
        updated_at = excluded.updated_at
    RETURNING id
"""

_STATE: LiteralString = """
    semaphore.id, semaphore.key, semaphore."limit", semaphore.value,
    (
        SELECT count(*) FROM dj_queue_semaphore_holders holder WHERE holder.key = semaphore.key
            AND (holder.expires_at IS NULL OR holder.expires_at > clock_timestamp())
    ), EXISTS (
        SELECT FROM dj_queue_blocked_executions blocked
        WHERE blocked.concurrency_key = semaphore.key AND NOT blocked.waits
    ), semaphore.period, (
        SELECT extract(epoch FROM min(holder.expires_at) - clock_timestamp())::double precision
        FROM dj_queue_semaphore_holders holder
        WHERE holder.key = semaphore.key AND holder.expires_at > clock_timestamp()
    )
"""
_STATES: LiteralString = f"""
    SELECT {_STATE} FROM dj_queue_semaphores semaphore WHERE semaphore.key = ANY(%s::text[])
"""

_WAITER: LiteralString = """
    SELECT id, job_id, backend_alias, queue_name, priority, executor, concurrency_key, waits
    FROM dj_queue_blocked_executions blocked
"""
_NEXT_WAITERS: LiteralString = f"""
    SELECT waiter.* FROM unnest(%s::text[], %s::bigint[]) AS wanted (key, room) CROSS JOIN LATERAL (
        SELECT * FROM (
            {_WAITER} WHERE blocked.concurrency_key = wanted.key AND blocked.waits AND NOT EXISTS (
                SELECT FROM dj_queue_pauses pause
                WHERE pause.backend_alias = blocked.backend_alias
                    AND pause.queue_name = blocked.queue_name
            )
            ORDER BY priority DESC, id LIMIT wanted.room FOR UPDATE SKIP LOCKED
        ) patient UNION ALL SELECT * FROM (
            {_WAITER} WHERE blocked.concurrency_key = wanted.key AND NOT blocked.waits
            FOR UPDATE SKIP LOCKED
        ) impatient
    ) waiter
"""

# A slot that leaked earlier, and was found again by its own job, is that job's.
_START: LiteralString = """
    WITH chosen AS MATERIALIZED (
        SELECT %s::bigint[] AS ids, %s::integer[] AS places, %s::integer[] AS periods
    ), removed AS (
        DELETE FROM dj_queue_blocked_executions WHERE id = ANY((SELECT ids FROM chosen)::bigint[])
        RETURNING *, (SELECT places FROM chosen)[width_bucket(id, (SELECT ids FROM chosen))] AS place,
            (SELECT periods FROM chosen)[width_bucket(id, (SELECT ids FROM chosen))] AS period
    ), ready AS (
        INSERT INTO dj_queue_ready_executions
            (job_id, backend_alias, queue_name, priority, executor, created_at)
        SELECT job_id, backend_alias, queue_name, priority, executor, clock_timestamp()
        FROM removed ORDER BY place
    ), held AS (
        INSERT INTO dj_queue_semaphore_holders (job_id, key, expires_at, created_at)
        SELECT CASE WHEN period IS NULL THEN job_id END, concurrency_key,
            clock_timestamp() + period * interval '1 second', clock_timestamp()
        FROM removed
        ON CONFLICT (job_id) DO UPDATE SET key = excluded.key
    )
    SELECT count(*) FROM removed
"""

_DISCARD: LiteralString = """
    WITH removed AS (
        DELETE FROM dj_queue_blocked_executions WHERE id = ANY(%s::bigint[]) RETURNING job_id
    ), finished AS (
        UPDATE dj_queue_jobs SET finished_at = clock_timestamp(), updated_at = clock_timestamp()
        WHERE id = ANY(ARRAY(SELECT job_id FROM removed))
    )
    SELECT count(*) FROM removed
"""

_NOTE_VALUES: LiteralString = """
    WITH given AS MATERIALIZED (SELECT %s::bigint[] AS ids, %s::integer[] AS numbers)
    UPDATE dj_queue_semaphores
    SET value = (SELECT numbers FROM given)[width_bucket(id, (SELECT ids FROM given))]
    WHERE id = ANY((SELECT ids FROM given)::bigint[]) RETURNING id
"""

_REMOVE_ENDED: LiteralString = """
    DELETE FROM dj_queue_semaphore_holders
    WHERE key = ANY(%s::text[]) AND expires_at <= clock_timestamp() RETURNING id
"""

_USED: LiteralString = """
    SELECT key,
        (SELECT count(*) FROM dj_queue_semaphore_holders holder WHERE holder.key = given.key)
        + (SELECT count(*) FROM dj_queue_blocked_executions blocked
            WHERE blocked.concurrency_key = given.key)
    FROM unnest(%s::text[]) AS given (key)
"""

# One descent of the index for each key, however many jobs wait for it.
_WAITING: LiteralString = f"""
    WITH RECURSIVE wanted AS MATERIALIZED (SELECT %s::text AS after),
    waiting (key) AS (
        (
            SELECT concurrency_key FROM dj_queue_blocked_executions
            WHERE concurrency_key > (SELECT after FROM wanted) ORDER BY concurrency_key LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT blocked.concurrency_key FROM dj_queue_blocked_executions blocked
            WHERE blocked.concurrency_key > waiting.key ORDER BY blocked.concurrency_key LIMIT 1
        )
        FROM waiting WHERE waiting.key IS NOT NULL
    )
    SELECT waiting.key, job.concurrency_limit, job.concurrency_duration, job.created_at, {_STATE}
    FROM (SELECT key FROM waiting WHERE key IS NOT NULL LIMIT %s::bigint) waiting
    CROSS JOIN LATERAL (
        SELECT job_id FROM dj_queue_blocked_executions blocked
        WHERE blocked.concurrency_key = waiting.key
        ORDER BY waits, priority DESC, id LIMIT 1
    ) first
    CROSS JOIN LATERAL (SELECT * FROM dj_queue_jobs WHERE id = first.job_id LIMIT 1) job
    LEFT JOIN dj_queue_semaphores semaphore ON semaphore.key = waiting.key
    ORDER BY waiting.key
"""

_IS_LEAK: LiteralString = """
    CASE WHEN holder.job_id IS NULL THEN coalesce(holder.expires_at <= clock_timestamp(), true)
    ELSE NOT EXISTS (
        SELECT FROM dj_queue_ready_executions ready WHERE ready.job_id = holder.job_id
    ) AND NOT EXISTS (
        SELECT FROM dj_queue_claimed_executions claim WHERE claim.job_id = holder.job_id
    ) END
"""
_LEAKS: LiteralString = f"""
    SELECT holder.id, holder.key, {_IS_LEAK} FROM (
        SELECT * FROM dj_queue_semaphore_holders WHERE id > %s::bigint ORDER BY id LIMIT %s::bigint
    ) holder ORDER BY holder.id
"""
_LEAKS_AMONG: LiteralString = f"""
    SELECT holder.id FROM dj_queue_semaphore_holders holder
    WHERE holder.id = ANY(%s::bigint[]) AND {_IS_LEAK}
"""
_REMOVE_HOLDERS: LiteralString = """
    DELETE FROM dj_queue_semaphore_holders WHERE id = ANY(%s::bigint[]) RETURNING id
"""

_IS_UNUSED: LiteralString = """
    semaphore.expires_at <= clock_timestamp() AND NOT EXISTS (
        SELECT FROM dj_queue_semaphore_holders holder WHERE holder.key = semaphore.key
    ) AND NOT EXISTS (
        SELECT FROM dj_queue_blocked_executions blocked WHERE blocked.concurrency_key = semaphore.key
    )
"""
# An array, and the jobs that are scheduled read once for it, and not once for each key.
_UNUSED: LiteralString = f"""
    WITH unused AS MATERIALIZED (
        SELECT key FROM dj_queue_semaphores semaphore WHERE {_IS_UNUSED} LIMIT %s::bigint
    ), scheduled AS MATERIALIZED (
        SELECT DISTINCT concurrency_key AS key FROM dj_queue_scheduled_executions
        WHERE concurrency_key = ANY((SELECT array_agg(key) FROM unused)::text[])
    )
    SELECT key FROM unused EXCEPT SELECT key FROM scheduled
"""
# Who uses a key meanwhile has its row locked, and puts off its end: the conditions are looked at again then.
_REMOVE_UNUSED: LiteralString = f"""
    DELETE FROM dj_queue_semaphores semaphore
    WHERE semaphore.key = ANY(%s::text[]) AND {_IS_UNUSED} RETURNING semaphore.id
"""


class PostgresSlots(Slots):
    """On any connection whose *run* returns the rows of a statement."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def give_back(self, job_ids: Sequence[UUID]) -> None:
        self._run(_GIVE_BACK, (list(job_ids),))

    def lock(self, said: Sequence[Said]) -> None:
        rows = [(*each, each.period) for each in said]
        self._run(_LOCK, tuple(map(list, zip(*rows, strict=True))))

    def states(self, keys: Sequence[str]) -> list[KeyState]:
        return [KeyState(*row) for row in self._run(_STATES, (list(keys),))]

    def next_waiters(self, wanted: Mapping[str, int]) -> list[Waiter]:
        rows = self._run(_NEXT_WAITERS, (list(wanted), list(wanted.values())))
        return [Waiter(*row) for row in rows]

    def start(self, waiters: Sequence[Waiter], periods: Mapping[str, int | None]) -> None:
        rows = sorted((each.id, n, periods[each.key]) for n, each in enumerate(waiters))
        self._run(_START, tuple(map(list, zip(*rows, strict=True))))

    def discard(self, waiters: Sequence[Waiter]) -> None:
        self._run(_DISCARD, ([waiter.id for waiter in waiters],))

    def note_values(self, values: Mapping[int, int]) -> None:
        ids = sorted(values)
        self._run(_NOTE_VALUES, (ids, [values[each] for each in ids]))

    def remove_ended(self, keys: Sequence[str]) -> None:
        self._run(_REMOVE_ENDED, (list(keys),))

    def used(self, keys: Sequence[str]) -> dict[str, int]:
        return {key: number for key, number in self._run(_USED, (list(keys),)) if number}

    def waiting(self, after: str, limit: int) -> list[Waiting]:
        return [
            Waiting(Said(*row[:4]), None if row[4] is None else KeyState(*row[4:]))
            for row in self._run(_WAITING, (after, limit))
        ]

    def leaks(self, after: int, limit: int) -> tuple[list[Holding], int | None]:
        rows = self._run(_LEAKS, (after, limit))
        return [Holding(*row[:2]) for row in rows if row[2]], rows[-1][0] if rows else None

    def leaks_among(self, holder_ids: Sequence[int]) -> list[int]:
        return [row[0] for row in self._run(_LEAKS_AMONG, (list(holder_ids),))]

    def remove_holders(self, holder_ids: Sequence[int]) -> None:
        self._run(_REMOVE_HOLDERS, (list(holder_ids),))

    def unused(self, limit: int) -> list[str]:
        return [row[0] for row in self._run(_UNUSED, (limit,))]

    def remove_unused(self, keys: Sequence[str]) -> int:
        return len(self._run(_REMOVE_UNUSED, (list(keys),)))
