"""What PostgreSQL keeps in mind about our own tables: their size, their dead rows, the last vacuum."""

from datetime import datetime
from typing import Any

from django.apps import apps
from django.db import connections

# Only tables of this library, and nothing of what other sessions and other databases do.
_TABLES = """
    SELECT relname, n_live_tup, n_dead_tup, last_vacuum, last_autovacuum, vacuum_count, autovacuum_count,
        pg_total_relation_size(relid)
    FROM pg_stat_user_tables
    WHERE relid = ANY (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)
    ORDER BY relname
"""


def postgres_tables(database: str) -> list[dict[str, Any]] | None:
    """The tables of dj_queue that are found on the search path, by name; None on other databases."""
    if connections[database].vendor != "postgresql":
        return None
    names = [
        model._meta.db_table  # noqa: SLF001
        for model in apps.get_app_config("dj_queue").get_models()
        if model._meta.managed  # noqa: SLF001
    ]
    with connections[database].cursor() as cursor:
        cursor.execute(_TABLES, (names,))
        return [_described(*row) for row in cursor.fetchall()]


def _described(
    name: str,
    live: int,
    dead: int,
    vacuumed: datetime | None,
    autovacuumed: datetime | None,
    vacuums: int,
    autovacuums: int,
    size: int,
) -> dict[str, Any]:
    return {
        "table_name": name,
        "live_tuples": live,
        "dead_tuples": dead,
        "dead_tuple_ratio": dead / (live + dead) if live + dead else 0.0,
        "last_vacuum": None if vacuumed is None else vacuumed.isoformat(),
        "last_autovacuum": None if autovacuumed is None else autovacuumed.isoformat(),
        "vacuum_count": vacuums,
        "autovacuum_count": autovacuums,
        "total_relation_bytes": size,
    }
