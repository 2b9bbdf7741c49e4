"""Transactions of operations on rows that workers and other operators may be about to take."""

from collections.abc import Callable

from django.db import connections, transaction
from django.db.models import F, Model, QuerySet

from dj_queue.store.transactions import retried


def in_transaction[T](database: str, work: Callable[[], T]) -> T:
    """What *work* returns, done in one transaction: the caller's, or one of its own.

    One of its own is begun again after a deadlock; in the caller's only the caller can do that.
    """

    def once() -> T:
        with transaction.atomic(using=database):
            return work()

    return retried(once) if _is_ours(database) else once()


def in_one_statement[T](database: str, work: Callable[[], T]) -> T:
    """What *work* returns, which is a single statement and needs no BEGIN: begun again after a deadlock.

    Where one transaction writes at a time, nobody waits for Python between BEGIN and COMMIT.
    """
    return retried(work) if _is_ours(database) else work()


def _is_ours(database: str) -> bool:
    connection = connections[database]
    return not connection.in_atomic_block and connection.get_autocommit()


def locked[M: Model](rows: QuerySet[M], *, limit: int | None = None) -> list[M]:
    """*rows* (of one table of executions), at most *limit*, locked until the transaction ends.

    A row that somebody else has locked, a worker that claims it above all, is passed over. Where rows
    cannot be locked (SQLite), the whole database is, which makes everybody else wait.
    """
    features = connections[rows.db].features
    if not features.has_select_for_update:
        # A write that finds nothing. A transaction that reads first cannot always begin to write later.
        table = rows.model._base_manager.using(rows.db)  # noqa: SLF001
        table.filter(pk=-1).update(created_at=F("created_at"))
        return list(rows[:limit])
    passes = features.has_select_for_update_skip_locked
    of = ("self",) if features.has_select_for_update_of else ()
    return list(rows.select_for_update(skip_locked=passes, of=of)[:limit])
