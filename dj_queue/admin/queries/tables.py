"""How large the tables are, as far as the database knows without reading them."""

from typing import NamedTuple

from django.apps import apps
from django.db import connections


class TableSize(NamedTuple):
    """A table of the queue."""

    name: str
    rows: int | None
    """As the database estimates; None where it does not."""
    bytes: int
    """With its indexes."""
    dead_rows: int | None = None
    vacuumed_at: object = None


_POSTGRES = """
    SELECT c.relname, c.reltuples::bigint, pg_total_relation_size(c.oid), s.n_dead_tup,
        GREATEST(s.last_autovacuum, s.last_vacuum)
    FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
    WHERE c.relkind IN ('r', 'p') AND c.oid = ANY(
        SELECT to_regclass(name) FROM unnest(%s::text[]) AS name
    ) ORDER BY c.relname
"""
_MYSQL = """
    SELECT table_name, table_rows, data_length + index_length FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_name LIKE 'dj\\_queue\\_%%' ORDER BY table_name
"""


def table_sizes(database: str) -> list[TableSize]:
    """Each table of the queue, with one statement; none on SQLite, which keeps no such numbers."""
    connection = connections[database]
    if connection.vendor == "sqlite":
        return []
    names = sorted(
        model._meta.db_table  # noqa: SLF001
        for model in apps.get_app_config("dj_queue").get_models()
        if model._meta.managed  # noqa: SLF001
    )
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_POSTGRES, [names])
            # -1: the table was never analyzed.
            return [
                TableSize(name, rows if rows >= 0 else None, *rest)
                for name, rows, *rest in cursor.fetchall()
            ]
        cursor.execute(_MYSQL, [])
        return [TableSize(name, rows, size) for name, rows, size in cursor.fetchall()]
