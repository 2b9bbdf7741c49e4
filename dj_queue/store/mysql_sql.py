"""The statements of the store for MySQL and MariaDB, whole, with the reason for each.

`%s` stands for a value, for a list in parentheses after `IN`, and for a row after `VALUES`: the driver
writes all three. Ids are written without hyphens, which MySQL's `char(32)` and MariaDB's `uuid` both take.

Rows that are changed or deleted are named by a JSON document, which is joined to the table: each is then
found by its key. With `id IN (...)` both servers read the whole table when they take it for small, even
if told to use the key, and a statement that locks waits for every row that another session holds. The
claims name their index because the optimizer judges by statistics that lag behind tables which fill and
empty within seconds.
"""

from dj_queue.store.shared import JOB_COLUMNS

CLOCK = "SELECT UTC_TIMESTAMP(6)"

INSERT_JOBS = """
    INSERT INTO dj_queue_jobs (id, task_path, queue_name, priority, payload, backend_alias, executor,
        trace_context, scheduled_at, created_at, updated_at)
    VALUES """
INSERT_READY = """
    INSERT INTO dj_queue_ready_executions
        (job_id, backend_alias, queue_name, priority, executor, created_at)
    VALUES """
INSERT_SCHEDULED = """
    INSERT INTO dj_queue_scheduled_executions
        (job_id, backend_alias, queue_name, priority, executor, created_at, scheduled_at)
    VALUES """
INSERT_CLAIMS = """
    INSERT INTO dj_queue_claimed_executions (job_id, process_id, token, started_at, created_at)
    VALUES """
INSERT_PROCESSES = """
    INSERT INTO dj_queue_processes (backend_alias, kind, name, pid, hostname, metadata, supervisor_id,
        last_heartbeat_at, created_at)
    VALUES """

# The row is there already when the answer to an earlier try was lost.
SAME_PROCESS = """
    ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id), supervisor_id = VALUES(supervisor_id),
        last_heartbeat_at = VALUES(last_heartbeat_at)
"""


def with_rows(statement: str, count: int) -> str:
    """An `INSERT` of *count* rows."""
    return statement + ", ".join(["%s"] * count)


def rows_of(table: str, alias: str) -> str:
    """The rows of *table* whose ids are in a JSON document, found by their key."""
    return f"""
    JSON_TABLE(%s, '$[*]' COLUMNS (id BIGINT PATH '$')) given
    STRAIGHT_JOIN {table} {alias} FORCE INDEX (PRIMARY) ON {alias}.id = given.id
    """


def _jobs(columns: str = "") -> str:
    # The result of HEX takes on the collation of the column that it is compared with. A column of the
    # document has a collation of its own, and where that differs the comparison is refused, or is
    # made without the index.
    return f"""
    JSON_TABLE(%s, '$[*]' COLUMNS (id CHAR(32) PATH '$.id'{columns})) given
    STRAIGHT_JOIN dj_queue_jobs job FORCE INDEX (PRIMARY) ON job.id = LOWER(HEX(UNHEX(given.id)))
    """


# Read without a lock, and proven by the DELETE: a claim never changes, it only goes, so it is still
# ours if its row is still there under the same key.
CLAIMS = "SELECT id, job_id, token FROM dj_queue_claimed_executions WHERE job_id IN %s"
CLAIMS_OF = "SELECT job_id, token FROM dj_queue_claimed_executions WHERE process_id = %s"
END_CLAIMS = f"DELETE claim FROM {rows_of('dj_queue_claimed_executions', 'claim')}"

_ATTEMPT = """,
        started_at DATETIME(6) PATH '$.started_at', finished_at DATETIME(6) PATH '$.finished_at',
        worker_ids LONGTEXT PATH '$.worker_ids'"""

KEEP_JOBS = f"""
    UPDATE {_jobs(_ATTEMPT + ", result LONGTEXT PATH '$.result'")}
    SET job.finished_at = given.finished_at,
        job.updated_at = given.finished_at,
        job.started_at = coalesce(job.started_at, given.started_at),
        job.last_attempted_at = given.started_at,
        job.return_value = given.result,
        job.worker_ids = given.worker_ids
"""
# The record of a recurring job's firing stays, and lets go of the job; its foreign key is checked at once.
LET_GO = "UPDATE dj_queue_recurring_executions SET job_id = NULL WHERE job_id IN %s"
DELETE_JOBS = f"DELETE job FROM {_jobs()}"
FAIL_JOBS = f"""
    UPDATE {_jobs(_ATTEMPT + ", errors LONGTEXT PATH '$.errors'")}
    SET job.updated_at = given.finished_at,
        job.started_at = coalesce(job.started_at, given.started_at),
        job.last_attempted_at = given.started_at,
        job.worker_ids = given.worker_ids,
        job.errors = given.errors
"""
_FAILURE = """,
        finished_at DATETIME(6) PATH '$.finished_at',
        exception_class LONGTEXT PATH '$.exception_class',
        message LONGTEXT PATH '$.message', traceback LONGTEXT PATH '$.traceback'"""
# From the jobs that are there: one that was deleted while it ran has no failure to keep.
INSERT_FAILED = f"""
    INSERT INTO dj_queue_failed_executions (job_id, exception_class, message, traceback, created_at)
    SELECT job.id, given.exception_class, given.message, given.traceback, given.finished_at
    FROM {_jobs(_FAILURE)}
"""

_ANY_IS_READY = """
    EXISTS (
        SELECT 1 FROM dj_queue_ready_executions FORCE INDEX (djq_ready_claim)
        WHERE backend_alias = %s AND executor IN %s
    )"""
_QUEUE_HAS_READY = """
    EXISTS (
        SELECT 1 FROM dj_queue_ready_executions FORCE INDEX (djq_ready_claim_queue)
        WHERE backend_alias = %s AND queue_name = %s AND executor IN %s
    )"""
_FIRST_NAME_AFTER = """
    (
        SELECT queue_name FROM dj_queue_ready_executions FORCE INDEX (djq_ready_claim_queue)
        WHERE backend_alias = %s AND queue_name > %s ORDER BY queue_name LIMIT 1
    )"""


def look(names: int) -> str:
    """The clock, the paused queues, and which of so many queues (without any: whether any) have jobs."""
    ready = [_QUEUE_HAS_READY] * names or [_ANY_IS_READY]
    return f"""
    SELECT UTC_TIMESTAMP(6), (
        SELECT JSON_ARRAYAGG(queue_name) FROM dj_queue_pauses WHERE backend_alias = %s
    ), {", ".join(ready)}
"""


def first_names(names: int) -> str:
    """For each of so many names the first queue after it that has ready jobs."""
    return f"SELECT {', '.join([_FIRST_NAME_AFTER] * names)}"


# Rows in index order until there is room for no more: nothing is joined, counted or sorted before.
_PICK = """(
        SELECT id, job_id, priority, executor, UTC_TIMESTAMP(6)
        FROM dj_queue_ready_executions FORCE INDEX ({index})
        WHERE backend_alias = %s{and_queue} AND executor = %s
        ORDER BY priority DESC, id LIMIT %s FOR UPDATE{skip_locked}
    )"""


def pick(parts: int, *, by_queue: bool, skips_locked: bool) -> str:
    """The best ready rows of each of so many *parts* (an executor, and perhaps a queue), locked."""
    part = _PICK.format(
        index="djq_ready_claim_queue" if by_queue else "djq_ready_claim",
        and_queue=" AND queue_name = %s" if by_queue else "",
        skip_locked=" SKIP LOCKED" if skips_locked else "",
    )
    return " UNION ALL ".join([part] * parts)


REMOVE_READY = f"DELETE ready FROM {rows_of('dj_queue_ready_executions', 'ready')}"
# Not joined with the choice of rows: a row that was committed while that statement ran may be locked and
# its job not seen. A statement that begins later sees both.
JOBS = f"SELECT {', '.join(f'job.{each}' for each in JOB_COLUMNS.split(', '))} FROM {_jobs()}"

# The old place in the order of arrival is gone with the ready row, and the job should not lose its turn.
RELEASE = f"""
    INSERT INTO dj_queue_ready_executions
        (id, job_id, backend_alias, queue_name, priority, executor, created_at)
    SELECT given.place, job.id, job.backend_alias, job.queue_name, job.priority, job.executor, %s
    FROM {_jobs(", place BIGINT PATH '$.place'")}
"""

NEXT_DUE = """
    SELECT UTC_TIMESTAMP(6), (
        SELECT scheduled_at FROM dj_queue_scheduled_executions FORCE INDEX (djq_scheduled_due)
        WHERE backend_alias = %s ORDER BY scheduled_at LIMIT 1
    ), (
        SELECT failed.retry_at FROM dj_queue_failed_executions failed FORCE INDEX (djq_failed_retry)
        JOIN dj_queue_jobs job ON job.id = failed.job_id
        WHERE failed.retry_at IS NOT NULL AND job.backend_alias = %s ORDER BY failed.retry_at LIMIT 1
    ), EXISTS (SELECT 1 FROM dj_queue_blocked_executions)
"""
DUE = """
    SELECT id, job_id, backend_alias, queue_name, priority, executor, concurrency_key
    FROM dj_queue_scheduled_executions FORCE INDEX (djq_scheduled_due)
    WHERE backend_alias = %s AND scheduled_at <= %s
    ORDER BY scheduled_at, priority DESC, id LIMIT %s FOR UPDATE SKIP LOCKED
"""
REMOVE_SCHEDULED = f"DELETE scheduled FROM {rows_of('dj_queue_scheduled_executions', 'scheduled')}"

# Those with a concurrency key compete for slots when they are due.
INSERT_BLOCKED = f"""
    INSERT INTO dj_queue_blocked_executions (job_id, backend_alias, queue_name, priority, executor,
        concurrency_key, waits, expires_at, created_at)
    SELECT job.id, job.backend_alias, job.queue_name, job.priority, job.executor,
        job.concurrency_key, job.concurrency_on_conflict <> 'discard',
        DATE_ADD(%s, INTERVAL job.concurrency_duration SECOND), %s
    FROM {_jobs()}
"""
LIMITS = f"""
    SELECT job.concurrency_key, job.concurrency_limit, job.concurrency_duration, job.created_at
    FROM {_jobs()} WHERE job.concurrency_key IS NOT NULL
"""

# A process that is stopped inside a transaction must not keep rows from those who recover it.
SET_WAIT_TIMEOUT = "SET SESSION wait_timeout = 30"

CONNECTIONS = "SHOW GLOBAL STATUS LIKE 'Threads_connected'"
MAX_CONNECTIONS = "SELECT @@max_connections"

PROCESS_IDS = "SELECT name, id FROM dj_queue_processes WHERE backend_alias = %s AND name IN %s"
HEARTBEAT = "UPDATE dj_queue_processes SET last_heartbeat_at = %s WHERE id IN %s"
DESCRIBE = "UPDATE dj_queue_processes SET metadata = %s WHERE id = %s"
# MySQL checks each row's foreign key at once, so children let go of their supervisor first.
ORPHAN = "UPDATE dj_queue_processes SET supervisor_id = NULL WHERE supervisor_id IN %s"
DEREGISTER = "DELETE FROM dj_queue_processes WHERE id IN %s"
