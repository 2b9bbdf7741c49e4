"""The statements of the SQLite store.

Those with `%s` run on Django's connection, those with `?` on a session's own.
"""

from dj_queue.store.shared import JOB_COLUMNS

INSERT_JOB = """
    INSERT INTO dj_queue_jobs (id, task_path, queue_name, priority, payload, backend_alias, executor,
        trace_context, scheduled_at, created_at, updated_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
INSERT_READY = """
    INSERT INTO dj_queue_ready_executions
        (job_id, backend_alias, queue_name, priority, executor, created_at)
    VALUES (%s, %s, %s, %s, %s, %s)
"""
INSERT_SCHEDULED = """
    INSERT INTO dj_queue_scheduled_executions
        (job_id, backend_alias, queue_name, priority, executor, created_at, scheduled_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
"""
END_CLAIM = "DELETE FROM dj_queue_claimed_executions WHERE job_id = ? AND token = ?"
KEEP_JOB = """
    UPDATE dj_queue_jobs
    SET finished_at = ?, updated_at = ?, started_at = coalesce(started_at, ?),
        last_attempted_at = ?, return_value = ?, worker_ids = ?
    WHERE id = ?
"""
# The record of a recurring job's firing stays, and lets go of the job.
LET_GO = "UPDATE dj_queue_recurring_executions SET job_id = NULL WHERE job_id = ?"
DELETE_JOB = "DELETE FROM dj_queue_jobs WHERE id = ?"
FAIL_JOB = """
    UPDATE dj_queue_jobs
    SET updated_at = ?, started_at = coalesce(started_at, ?), last_attempted_at = ?,
        worker_ids = ?, errors = ?
    WHERE id = ?
"""
INSERT_FAILED = """
    INSERT INTO dj_queue_failed_executions (job_id, exception_class, message, traceback, created_at)
    SELECT id, ?, ?, ?, ? FROM dj_queue_jobs WHERE id = ?
"""
HAS_READY = "SELECT EXISTS (SELECT 1 FROM dj_queue_ready_executions WHERE backend_alias = ?)"
PAUSED = "SELECT queue_name FROM dj_queue_pauses WHERE backend_alias = ?"
# One descent of the index for each name, however many rows have it.
QUEUE_NAMES = """
    WITH RECURSIVE name (queue_name) AS (
        SELECT min(queue_name) FROM dj_queue_ready_executions WHERE backend_alias = ?
        UNION ALL
        SELECT (
            SELECT min(queue_name) FROM dj_queue_ready_executions
            WHERE backend_alias = ? AND queue_name > name.queue_name
        ) FROM name WHERE name.queue_name IS NOT NULL
    )
    SELECT queue_name FROM name WHERE queue_name IS NOT NULL
"""
PICK_ANY = """
    SELECT id, job_id, priority FROM dj_queue_ready_executions
    WHERE backend_alias = ? AND executor = ? ORDER BY priority DESC, id LIMIT ?
"""
PICK_FROM_QUEUE = """
    SELECT id, job_id, priority FROM dj_queue_ready_executions
    WHERE backend_alias = ? AND queue_name = ? AND executor = ? ORDER BY priority DESC, id LIMIT ?
"""
REMOVE_READY = "DELETE FROM dj_queue_ready_executions WHERE id = ?"
INSERT_CLAIM = """
    INSERT INTO dj_queue_claimed_executions (job_id, process_id, token, started_at, created_at)
    VALUES (?, ?, ?, ?, ?)
"""
JOB = f"SELECT {JOB_COLUMNS} FROM dj_queue_jobs WHERE id = ?"
CLAIMS_OF = "SELECT job_id, token FROM dj_queue_claimed_executions WHERE process_id = ?"
RELEASE = """
    INSERT INTO dj_queue_ready_executions
        (id, job_id, backend_alias, queue_name, priority, executor, created_at)
    SELECT (SELECT min(coalesce(min(id), 0), 0) - 1 FROM dj_queue_ready_executions),
        id, backend_alias, queue_name, priority, executor, ?
    FROM dj_queue_jobs WHERE id = ?
"""
NEXT_DUE = """
    SELECT min(scheduled_at) AS "due [datetime]" FROM dj_queue_scheduled_executions
    WHERE backend_alias = ?
"""
NEXT_RETRY = """
    SELECT min(failed.retry_at) AS "retry [datetime]",
        EXISTS (SELECT 1 FROM dj_queue_blocked_executions)
    FROM dj_queue_failed_executions failed JOIN dj_queue_jobs job ON job.id = failed.job_id
    WHERE failed.retry_at IS NOT NULL AND job.backend_alias = ?
"""
DUE = """
    SELECT id, job_id, backend_alias, queue_name, priority, executor, concurrency_key
    FROM dj_queue_scheduled_executions
    WHERE backend_alias = ? AND scheduled_at <= ? ORDER BY scheduled_at, priority DESC, id LIMIT ?
"""
PROMOTE = INSERT_READY.replace("%s", "?")
# Those with a concurrency key compete for slots when they are due.
BLOCK = """
    INSERT INTO dj_queue_blocked_executions (job_id, backend_alias, queue_name, priority, executor,
        concurrency_key, waits, expires_at, created_at)
    SELECT id, backend_alias, queue_name, priority, executor, concurrency_key,
        concurrency_on_conflict <> 'discard', ?, ?
    FROM dj_queue_jobs WHERE id = ?
"""
LIMIT = """
    SELECT concurrency_key, concurrency_limit, concurrency_duration, created_at FROM dj_queue_jobs
    WHERE id = ?
"""
REMOVE_SCHEDULED = "DELETE FROM dj_queue_scheduled_executions WHERE id = ?"
# The row is there already when an earlier try committed and nobody learned of it.
UNREGISTER = "DELETE FROM dj_queue_processes WHERE backend_alias = ? AND name = ?"
REGISTER = """
    INSERT INTO dj_queue_processes (backend_alias, kind, name, pid, hostname, metadata, supervisor_id,
        last_heartbeat_at, created_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
HEARTBEAT = "UPDATE dj_queue_processes SET last_heartbeat_at = ? WHERE id = ?"
DESCRIBE = "UPDATE dj_queue_processes SET metadata = ? WHERE id = ?"
ORPHAN = "UPDATE dj_queue_processes SET supervisor_id = NULL WHERE supervisor_id = ?"
DEREGISTER = "DELETE FROM dj_queue_processes WHERE id = ?"
