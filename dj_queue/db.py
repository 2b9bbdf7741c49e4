"""Which database a queue is on, and what it can do; for scripts that go to the tables themselves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model, QuerySet

from dj_queue.config import backend_config
from dj_queue.store import store_for
from dj_queue.store.transactions import retried

__all__ = [
    "DatabaseCapabilities",
    "database_capabilities",
    "get_database_alias",
    "get_queue_connection",
    "locked_queryset",
    "queue_cursor",
    "retry_transient_database_errors",
    "supports_listen_notify",
    "supports_skip_locked",
]


@dataclass(frozen=True, slots=True)
class DatabaseCapabilities:
    """What a database can do, as far as it makes a difference to the queue."""

    backend_family: str
    """`postgresql`, `mysql`, `mariadb` or `sqlite`."""
    supports_skip_locked: bool
    supports_listen_notify: bool
    uses_serialized_writes: bool
    """Whether only one transaction writes at a time."""


def get_database_alias(backend_alias: str = "default") -> str:
    """The entry of `DATABASES` that holds the tables of a backend."""
    return backend_config(backend_alias).options.database_alias


def get_queue_connection(backend_alias: str = "default") -> BaseDatabaseWrapper:
    """This thread's connection to the database of a backend."""
    return connections[get_database_alias(backend_alias)]


@contextmanager
def queue_cursor(backend_alias: str = "default") -> Iterator[Any]:
    """A cursor on this thread's connection to the database of a backend."""
    with get_queue_connection(backend_alias).cursor() as cursor:
        yield cursor


def database_capabilities(alias: str) -> DatabaseCapabilities:
    """What the entry *alias* of `DATABASES` can do; asks the server where it may be of several versions.

    Raises `UnsupportedDatabase`, which is an `ImproperlyConfigured`, for a vendor without a store.
    """
    store_for(alias)
    connection: Any = connections[alias]
    is_mariadb = connection.vendor == "mysql" and connection.mysql_is_mariadb
    return DatabaseCapabilities(
        backend_family="mariadb" if is_mariadb else connection.vendor,
        supports_skip_locked=connection.features.has_select_for_update_skip_locked,
        supports_listen_notify=connection.vendor == "postgresql",
        uses_serialized_writes=connection.vendor == "sqlite",
    )


def supports_skip_locked(backend_alias: str = "default") -> bool:
    """Whether statements on a backend's database can pass over locked rows, and may."""
    options = backend_config(backend_alias).options
    capabilities = database_capabilities(options.database_alias)
    return options.use_skip_locked and capabilities.supports_skip_locked


def supports_listen_notify(backend_alias: str = "default") -> bool:
    """Whether a backend's database can wake its workers, and may."""
    options = backend_config(backend_alias).options
    return (
        options.listen_notify
        and database_capabilities(options.database_alias).supports_listen_notify
    )


def locked_queryset[M: Model](
    queryset: "QuerySet[M]", use_skip_locked: bool = True
) -> "QuerySet[M]":
    """*queryset* with its rows locked, passing over rows that others have locked where that can be done.

    Where the database locks no rows, because one transaction writes at a time, *queryset* as it is.
    """
    features = connections[queryset.db].features
    if not features.has_select_for_update:
        return queryset
    skips = use_skip_locked and features.has_select_for_update_skip_locked
    return queryset.select_for_update(skip_locked=skips)


def retry_transient_database_errors[T](work: Callable[[], T]) -> T:
    """What *work* returns; it is called again after a deadlock and the like, at most five times.

    *work* is to begin and end a transaction of its own: never inside of another one.
    """
    return retried(work)
