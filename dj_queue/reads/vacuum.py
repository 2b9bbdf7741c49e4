"""What keeps PostgreSQL from removing the dead rows that a queue makes, and whether they pile up.

Of sessions and transactions it tells what they are called and how old they are, never what they do: the
statements of others are none of a queue's business.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import connections
from django.utils import timezone
from django.utils.translation import gettext as _

from dj_queue.reads.tables import postgres_tables

OLD_TRANSACTION = timedelta(minutes=5)
"""From this age on a transaction is told of that keeps dead rows from being removed."""

MANY_DEAD_ROWS = 100_000
"""From so many dead rows on a table is bloated, if they are a third of its rows as well.

By its default autovacuum comes when they are a sixth.
"""

LONG_WITHOUT_VACUUM = timedelta(minutes=10)
"""So long a table of dead rows may wait for a vacuum.

Autovacuum looks once a minute, and by then a busy queue has left some hundred thousand behind without
anything being wrong.
"""

_MUCH_OF_THE_TABLE = 1 / 3

# A slot of a standby moves on with each transaction; so many behind, nobody reads it.
_TRANSACTIONS_BEHIND = 100_000

# A session whose transaction only reads has a `backend_xmin`, one that has written a `backend_xid`, and each
# holds the horizon. An idle one at READ COMMITTED has neither, and is harmless. Autovacuum's own counts for
# nobody. Sessions of other roles look like idle ones to who may not see them (`pg_read_all_stats`).
_SESSIONS = """
    SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
        AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
        AND xact_start <= clock_timestamp() - make_interval(secs => %s)
    ORDER BY xact_start
"""

_PREPARED = """
    SELECT gid, extract(epoch FROM clock_timestamp() - prepared)
    FROM pg_prepared_xacts
    WHERE database = current_database() AND prepared <= clock_timestamp() - make_interval(secs => %s)
    ORDER BY prepared
"""

# A standby's slot belongs to no database and holds the rows of all. `catalog_xmin` holds the catalog's only.
_SLOTS = """
    SELECT slot_name, age(xmin)
    FROM pg_replication_slots
    WHERE (database = current_database() OR database IS NULL) AND age(xmin) >= %s
    ORDER BY slot_name
"""


def vacuum_problems(
    database: str,
    *,
    old: timedelta = OLD_TRANSACTION,
    transactions_behind: int = _TRANSACTIONS_BEHIND,
    many_dead_rows: int = MANY_DEAD_ROWS,
    without_vacuum: timedelta = LONG_WITHOUT_VACUUM,
) -> Iterator[str]:
    """Tables of dj_queue with too many dead rows, and what keeps those from being removed, a line each.

    Transactions count from the age *old* on, replication slots when they are *transactions_behind*, tables
    when they have *many_dead_rows* and have been *without_vacuum* for so long. Databases other than
    PostgreSQL have nothing of the kind: there it asks and tells nothing.
    """
    tables = postgres_tables(database)
    if tables is None:
        return
    long_ago = timezone.now() - without_vacuum
    for table in tables:
        dead, share, vacuumed = table["dead_tuples"], table["dead_tuple_ratio"], _vacuumed(table)
        overdue = vacuumed is None or vacuumed <= long_ago
        if dead >= many_dead_rows and share >= _MUCH_OF_THE_TABLE and overdue:
            yield _bloated(table["table_name"], dead, share, vacuumed)
    with connections[database].cursor() as cursor:
        cursor.execute(_SESSIONS, [old.total_seconds()])
        for pid, seconds in cursor.fetchall():
            yield _(
                "a transaction has been open for %(seconds)d s and keeps dead rows from being removed: "
                "that of the session with pid %(pid)d"
            ) % {"seconds": seconds, "pid": pid}
        cursor.execute(_PREPARED, [old.total_seconds()])
        for gid, seconds in cursor.fetchall():
            yield _(
                "a prepared transaction has been open for %(seconds)d s and keeps dead rows from being "
                "removed: %(gid)s"
            ) % {"seconds": seconds, "gid": gid}
        cursor.execute(_SLOTS, [transactions_behind])
        for name, behind in cursor.fetchall():
            yield _(
                "replication slot %(name)s is %(behind)d transactions behind and keeps dead rows from "
                "being removed"
            ) % {"name": name, "behind": behind}


def _bloated(table: str, dead: int, share: float, vacuumed: datetime | None) -> str:
    values = {"table": table, "dead": dead, "percent": round(share * 100)}
    if vacuumed is None:
        return (
            _(
                "table %(table)s is bloated: %(dead)d dead rows, %(percent)d%% of all; it was never vacuumed"
            )
            % values
        )
    return _(
        "table %(table)s is bloated: %(dead)d dead rows, %(percent)d%% of all; it was last vacuumed at "
        "%(at)s"
    ) % {**values, "at": f"{vacuumed:%F %T %Z}"}


def _vacuumed(table: dict[str, Any]) -> datetime | None:
    """When it was last, by autovacuum or by somebody."""
    said = (table["last_vacuum"], table["last_autovacuum"])
    return max((datetime.fromisoformat(moment) for moment in said if moment), default=None)
