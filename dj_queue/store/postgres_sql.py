"""The statements of the PostgreSQL store, whole, with the reason for each.

The text of a statement depends only on the configuration, so the server plans it once per connection.
Nothing that a user typed is ever part of a text. Claims are in `postgres_exchange`.
"""

from typing import LiteralString

from dj_queue.store.base import Topic

# statement_timestamp() and not now(): in a long transaction now() is when it began, which would make
# jobs look as if they had waited since then.
_JOB_COLUMNS: LiteralString = """
    id, task_path, queue_name, priority, payload, backend_alias, executor, trace_context,
    scheduled_at, created_at, updated_at
"""

_INSERT_ONE_READY: LiteralString = f"""
    WITH job AS (
        INSERT INTO dj_queue_jobs ({_JOB_COLUMNS})
        VALUES (%s, %s, %s, %s, %s::jsonb, %s, %s, %s::jsonb, NULL, statement_timestamp(),
            statement_timestamp())
        RETURNING id, queue_name, priority, backend_alias, executor, created_at
    ), ready AS (
        INSERT INTO dj_queue_ready_executions
            (job_id, backend_alias, queue_name, priority, executor, created_at)
        SELECT id, backend_alias, queue_name, priority, executor, created_at FROM job
    )
    SELECT created_at, false, pg_backend_pid() FROM job
"""

_INSERT_ONE_READY_AND_NOTIFY: LiteralString = _INSERT_ONE_READY.replace(
    "pg_backend_pid() FROM job", f"pg_backend_pid(), pg_notify('{Topic.READY.value}', %s) FROM job"
)

# Ready or scheduled is decided by the database's clock, in the statement that writes.
_INSERT_ONE_SCHEDULED: LiteralString = f"""
    WITH job AS (
        INSERT INTO dj_queue_jobs ({_JOB_COLUMNS})
        VALUES (%s, %s, %s, %s, %s::jsonb, %s, %s, %s::jsonb, %s, statement_timestamp(),
            statement_timestamp())
        RETURNING id, queue_name, priority, backend_alias, executor, scheduled_at, created_at
    ), ready AS (
        INSERT INTO dj_queue_ready_executions
            (job_id, backend_alias, queue_name, priority, executor, created_at)
        SELECT id, backend_alias, queue_name, priority, executor, created_at FROM job
        WHERE scheduled_at <= created_at
    ), scheduled AS (
        INSERT INTO dj_queue_scheduled_executions
            (job_id, backend_alias, queue_name, priority, executor, scheduled_at, created_at)
        SELECT id, backend_alias, queue_name, priority, executor, scheduled_at, created_at FROM job
        WHERE scheduled_at > created_at
    )
    SELECT created_at, scheduled_at > created_at, pg_backend_pid() FROM job
"""

_INSERT_ONE_SCHEDULED_AND_NOTIFY: LiteralString = _INSERT_ONE_SCHEDULED.replace(
    "pg_backend_pid() FROM job",
    f"""pg_backend_pid(), pg_notify(
        CASE WHEN scheduled_at > created_at THEN '{Topic.SCHEDULED.value}' ELSE '{Topic.READY.value}' END,
        %s
    ) FROM job""",
)


def insert_one(*, is_scheduled: bool, announces: bool) -> LiteralString:
    """Write one job: the job row, its execution row and perhaps a notification, in one round trip."""
    if is_scheduled:
        return _INSERT_ONE_SCHEDULED_AND_NOTIFY if announces else _INSERT_ONE_SCHEDULED
    return _INSERT_ONE_READY_AND_NOTIFY if announces else _INSERT_ONE_READY


# The job starts in this process as soon as the statement has committed; nobody else need be told.
INSERT_CLAIMED: LiteralString = f"""
    WITH job AS (
        INSERT INTO dj_queue_jobs ({_JOB_COLUMNS})
        VALUES (%s, %s, %s, %s, %s::jsonb, %s, %s, %s::jsonb, NULL, statement_timestamp(),
            statement_timestamp())
        RETURNING id, queue_name, priority, backend_alias, executor, created_at,
            EXISTS (
                SELECT FROM dj_queue_pauses pause WHERE pause.backend_alias = dj_queue_jobs.backend_alias
                    AND pause.queue_name = dj_queue_jobs.queue_name
            ) AS is_paused
    ), claim AS (
        INSERT INTO dj_queue_claimed_executions (job_id, process_id, token, started_at, created_at)
        SELECT id, %s, %s, created_at, created_at FROM job WHERE NOT is_paused
    ), ready AS (
        INSERT INTO dj_queue_ready_executions
            (job_id, backend_alias, queue_name, priority, executor, created_at)
        SELECT id, backend_alias, queue_name, priority, executor, created_at FROM job WHERE is_paused
    )
    SELECT created_at, NOT is_paused, pg_backend_pid() FROM job
"""

# The jobs of one call are mostly of a few kinds, a kind being all but the id and the arguments; each job
# names its kind by number. Later chunks are given the first one's time, so that a call has one time.
INSERT_MANY: LiteralString = f"""
    WITH said AS MATERIALIZED (
        SELECT coalesce(%s::timestamptz, statement_timestamp()) AS now, %s::text AS backend_alias,
            %s::text[] AS task_path, %s::text[] AS queue_name, %s::smallint[] AS priority,
            %s::smallint[] AS executor, %s::text[] AS trace_context, %s::timestamptz[] AS run_after
    ), given AS MATERIALIZED (
        SELECT id, payload, place, task_path[kind] AS task_path, queue_name[kind] AS queue_name,
            priority[kind] AS priority, executor[kind] AS executor,
            trace_context[kind] AS trace_context, run_after[kind] AS run_after, backend_alias, now
        FROM said, unnest(%s::uuid[], string_to_array(%s, chr(31)), %s::smallint[]) WITH ORDINALITY
            AS each (id, payload, kind, place)
    ), jobs AS (
        INSERT INTO dj_queue_jobs ({_JOB_COLUMNS})
        SELECT id, task_path, queue_name, priority, payload::jsonb, backend_alias, executor,
            trace_context::jsonb, run_after, now, now
        FROM given
    ), ready AS (
        INSERT INTO dj_queue_ready_executions
            (job_id, backend_alias, queue_name, priority, executor, created_at)
        SELECT id, backend_alias, queue_name, priority, executor, now
        FROM given WHERE run_after IS NULL OR run_after <= now
    ), scheduled AS (
        INSERT INTO dj_queue_scheduled_executions
            (job_id, backend_alias, queue_name, priority, executor, scheduled_at, created_at)
        SELECT id, backend_alias, queue_name, priority, executor, run_after, now
        FROM given WHERE run_after > now
    )
    SELECT now, ARRAY(SELECT place FROM given WHERE run_after > now), pg_backend_pid() FROM said
"""

# Of connections that are the queue's own; why indexes are preferred says `postgres_session`.
SESSION_SETTINGS: LiteralString = """
    SET TIME ZONE 'UTC';
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off;
    -- Where an index has the order that is asked for, it is taken: statistics made while the queue was empty
    -- call the sorting of a whole backlog free. What no index has in order is sorted all the same.
    SET enable_sort = off;
    -- A plan that is forbidden above, and made all the same, looks dear enough to be compiled.
    SET jit = off;
    -- A process that is stopped inside a transaction must not keep rows from those who recover it.
    SET idle_in_transaction_session_timeout = '30s'
"""

NOTIFY: LiteralString = "SELECT pg_notify(%s, %s)"

NOW: LiteralString = "SELECT statement_timestamp()"

# Deleting the claim is the fence: only the holder of the token gets past it, and what follows happens
# for those rows alone.
#
# Nothing is joined. What is given is one row of arrays in the order of the ids, so `width_bucket` finds a
# job's place in them by bisection. In a join, a planner whose statistics were made while nothing was claimed
# compares each claim with each outcome: then most of the time of a busy server goes there.
_FENCE: LiteralString = """
        DELETE FROM dj_queue_claimed_executions
        WHERE job_id = ANY((SELECT ids FROM given)::uuid[])
            AND token = (SELECT tokens FROM given)[width_bucket(job_id, (SELECT ids FROM given))]
        RETURNING job_id
"""

# Times travel as microseconds, results as one text: see `postgres_arrays`.
FINISH: LiteralString = f"""
    given AS MATERIALIZED (
        SELECT %s::uuid[] AS ids, %s::bigint[] AS tokens, %s::bigint[] AS started_at,
            %s::bigint[] AS finished_at, string_to_array(%s, chr(31), '') AS results,
            jsonb_build_array(%s::text) AS worker_ids
    ), ended AS ({_FENCE}
    ), finished AS (
"""

_PLACE: LiteralString = "width_bucket(job.id, (SELECT ids FROM given))"
_RESULT: LiteralString = f"(SELECT results FROM given)[{_PLACE}]::jsonb"
_STARTED_AT: LiteralString = (
    f"timestamptz 'epoch' + (SELECT started_at FROM given)[{_PLACE}] * interval '1 microsecond'"
)
_FINISHED_AT: LiteralString = (
    f"timestamptz 'epoch' + (SELECT finished_at FROM given)[{_PLACE}] * interval '1 microsecond'"
)
_WORKER_IDS: LiteralString = "(SELECT worker_ids FROM given)"
_ENDED: LiteralString = "ANY(ARRAY(SELECT job_id FROM ended))"

# No indexed column changes, so the new version of the row stays on its page (HOT) while there is room.
KEEP_JOB: LiteralString = f"""
        UPDATE dj_queue_jobs job
        SET finished_at = {_FINISHED_AT},
            updated_at = {_FINISHED_AT},
            started_at = coalesce(job.started_at, {_STARTED_AT}),
            last_attempted_at = {_STARTED_AT},
            return_value = {_RESULT},
            worker_ids = coalesce(job.worker_ids || {_WORKER_IDS}, {_WORKER_IDS})
        WHERE job.id = {_ENDED}
    )
"""

# The record of a recurring job's firing stays, and lets go of the job.
DELETE_JOB: LiteralString = f"""
        DELETE FROM dj_queue_jobs WHERE id = {_ENDED}
    ), let_go AS (
        UPDATE dj_queue_recurring_executions SET job_id = NULL WHERE job_id = {_ENDED}
    )
"""

REJECTED: LiteralString = "ARRAY(SELECT unnest(ids) FROM given EXCEPT SELECT job_id FROM ended)"

FAIL: LiteralString = f"""
    WITH {FINISH.replace("finished AS (", "failed AS (")}
        UPDATE dj_queue_jobs job
        SET updated_at = {_FINISHED_AT},
            started_at = coalesce(job.started_at, {_STARTED_AT}),
            last_attempted_at = {_STARTED_AT},
            worker_ids = coalesce(job.worker_ids || {_WORKER_IDS}, {_WORKER_IDS}),
            errors = coalesce(job.errors, '[]'::jsonb) || {_RESULT}
        WHERE job.id = {_ENDED}
        RETURNING job.id, {_RESULT} AS error, job.updated_at AS finished_at
    ), recorded AS (
        INSERT INTO dj_queue_failed_executions
            (job_id, exception_class, message, traceback, created_at)
        SELECT id, error->>'exception_class', error->>'message', error->>'traceback', finished_at
        FROM failed
    )
    SELECT {REJECTED}
"""


# The old place in the order of arrival is gone with the ready row, and the job should not lose its turn:
# negative places stand before all given by the sequence, older jobs first. The jobs are looked up one by one:
# for a join in their order, a planner that is not to sort reads all jobs there are.
RELEASE: LiteralString = f"""
    WITH given AS MATERIALIZED (
        SELECT %s::uuid[] AS ids, %s::bigint[] AS tokens
    ), released AS ({_FENCE}
    ), ready AS (
        INSERT INTO dj_queue_ready_executions
            (id, job_id, backend_alias, queue_name, priority, executor, created_at)
        SELECT -nextval(pg_get_serial_sequence('dj_queue_ready_executions', 'id')),
            job.id, job.backend_alias, job.queue_name, job.priority, job.executor,
            statement_timestamp()
        FROM (SELECT job_id FROM released ORDER BY job_id DESC) latest_first
        CROSS JOIN LATERAL (SELECT * FROM dj_queue_jobs WHERE id = latest_first.job_id LIMIT 1) job
    )
    SELECT count(*), pg_notify('{Topic.READY.value}', %s) FROM released
"""

CLAIMS_OF: LiteralString = """
    SELECT job_id, token FROM dj_queue_claimed_executions WHERE process_id = %s
"""

# Due rows in the order in which they became due; the same order makes their places among the ready.
PROMOTE: LiteralString = """
    WITH wanted AS MATERIALIZED (SELECT %s::text AS backend_alias),
    due AS MATERIALIZED (
        SELECT * FROM dj_queue_scheduled_executions
        WHERE backend_alias = (SELECT backend_alias FROM wanted)
            AND scheduled_at <= statement_timestamp()
        ORDER BY scheduled_at, priority DESC, id LIMIT %s FOR UPDATE SKIP LOCKED
    ), removed AS (
        DELETE FROM dj_queue_scheduled_executions WHERE id = ANY(ARRAY(SELECT id FROM due))
    ), ready AS (
        INSERT INTO dj_queue_ready_executions
            (job_id, backend_alias, queue_name, priority, executor, created_at)
        SELECT job_id, backend_alias, queue_name, priority, executor, statement_timestamp()
        FROM due WHERE concurrency_key IS NULL ORDER BY scheduled_at, priority DESC, id
    ), limited AS MATERIALIZED (
        SELECT due.*, job.concurrency_limit, job.concurrency_duration, job.concurrency_on_conflict,
            job.created_at AS said_at
        FROM due CROSS JOIN LATERAL (SELECT * FROM dj_queue_jobs WHERE id = due.job_id LIMIT 1) job
        WHERE due.concurrency_key IS NOT NULL
    ), blocked AS (
        -- They compete for slots; who gets one is said by the transaction that follows.
        INSERT INTO dj_queue_blocked_executions (job_id, backend_alias, queue_name, priority, executor,
            concurrency_key, waits, expires_at, created_at)
        SELECT job_id, backend_alias, queue_name, priority, executor, concurrency_key,
            concurrency_on_conflict <> 'discard',
            statement_timestamp() + concurrency_duration * interval '1 second', statement_timestamp()
        FROM limited ORDER BY scheduled_at, priority DESC, id
    ), changed AS (
        SELECT count(*) AS promoted,
            array_agg(DISTINCT queue_name) FILTER (WHERE concurrency_key IS NULL) AS queues
        FROM due
    )
    SELECT promoted, queues, (
        -- What was promoted is still there in this statement's snapshot; what the limit left is due now.
        SELECT greatest(0, extract(epoch FROM scheduled_at - clock_timestamp()))
        FROM dj_queue_scheduled_executions
        WHERE backend_alias = (SELECT backend_alias FROM wanted) AND id NOT IN (SELECT id FROM due)
        ORDER BY scheduled_at LIMIT 1
    ), (
        SELECT json_agg(json_build_array(
            concurrency_key, concurrency_limit, concurrency_duration, said_at
        )) FROM limited
    ), CASE WHEN promoted > 0 THEN pg_notify(%s, json_build_object(
        'backend', %s::text, 'queues', json_build_array(), 'burst', false)::text) END, (
        SELECT greatest(0, extract(epoch FROM failed.retry_at - clock_timestamp()))
        FROM dj_queue_failed_executions failed JOIN dj_queue_jobs job ON job.id = failed.job_id
        WHERE failed.retry_at IS NOT NULL AND job.backend_alias = (SELECT backend_alias FROM wanted)
        ORDER BY failed.retry_at LIMIT 1
    ), EXISTS (SELECT FROM limited)
        OR EXISTS (SELECT FROM dj_queue_blocked_executions WHERE concurrency_key > '')
    FROM changed
"""

CONNECTIONS: LiteralString = """
    SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
"""

REGISTER: LiteralString = """
    INSERT INTO dj_queue_processes
        (backend_alias, kind, name, pid, hostname, metadata, supervisor_id, last_heartbeat_at, created_at)
    VALUES (%s, %s, %s, %s, %s, %s::jsonb, %s, clock_timestamp(), clock_timestamp())
    -- The row is there already when the answer to an earlier try was lost.
    ON CONFLICT (backend_alias, name) DO UPDATE
        SET last_heartbeat_at = excluded.last_heartbeat_at, supervisor_id = excluded.supervisor_id
    RETURNING id
"""

HEARTBEAT: LiteralString = """
    WITH beaten AS (
        UPDATE dj_queue_processes SET last_heartbeat_at = clock_timestamp()
        WHERE id = ANY(%s::bigint[]) RETURNING id
    )
    SELECT count(*) FROM beaten
"""

DESCRIBE: LiteralString = (
    "UPDATE dj_queue_processes SET metadata = %s::jsonb WHERE id = %s RETURNING id"
)

# Children point to their supervisor, and all go in one statement: the constraint is looked at its end.
# Those that stay let go of it.
DEREGISTER: LiteralString = """
    WITH given AS MATERIALIZED (SELECT %s::bigint[] AS ids),
    gone AS (
        DELETE FROM dj_queue_processes WHERE id = ANY((SELECT ids FROM given)::bigint[]) RETURNING id
    ), left_behind AS (
        UPDATE dj_queue_processes SET supervisor_id = NULL
        WHERE supervisor_id = ANY((SELECT ids FROM given)::bigint[])
            AND id <> ALL((SELECT ids FROM given)::bigint[])
    )
    SELECT count(*) FROM gone
"""
