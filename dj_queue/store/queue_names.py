"""Which queues have jobs that wait: a name costs one descent of an index, however many rows have it."""

_TABLES = (
    "dj_queue_ready_executions",
    "dj_queue_scheduled_executions",
    "dj_queue_blocked_executions",
)


def _skipping(place: int, table: str) -> str:
    return f"""
    names_{place} (queue_name) AS (
        SELECT min(queue_name) FROM {table} WHERE backend_alias = %s
        UNION ALL
        SELECT (
            SELECT min(queue_name) FROM {table}
            WHERE backend_alias = %s AND queue_name > names_{place}.queue_name
        ) FROM names_{place} WHERE names_{place}.queue_name IS NOT NULL
    )"""


# PostgreSQL and SQLite do not skip by themselves.
WAITING_QUEUES_BY_SKIPPING = (
    "WITH RECURSIVE"
    + ",".join(_skipping(place, table) for place, table in enumerate(_TABLES))
    + " UNION ".join(
        f" SELECT queue_name FROM names_{place} WHERE queue_name IS NOT NULL"
        for place in range(len(_TABLES))
    )
)

# MySQL skips by itself, and reads all rows for each step of a recursion. MariaDB reads the index once (25 ms
# for 100,000 rows); to be given one backend would cost it a temporary table, five times as much. The limit
# keeps the condition out of the inner query.
WAITING_QUEUES_BY_GROUPS = " UNION ".join(
    f"""
    SELECT queue_name FROM (
        SELECT DISTINCT backend_alias, queue_name FROM {table} LIMIT 100000
    ) AS names_{place} WHERE backend_alias = %s"""
    for place, table in enumerate(_TABLES)
)
