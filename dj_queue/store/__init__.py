"""The one place that asks which database it is: `store_for(alias)`."""

from functools import cache
from importlib import import_module

from django.core.signals import setting_changed
from django.db import connections

from dj_queue.exceptions import UnsupportedDatabase
from dj_queue.store.base import PartWritten, Session, Store, Topic

__all__ = ["PartWritten", "Session", "Store", "Topic", "store_for"]

_STORES = {
    "postgresql": "dj_queue.store.postgres.PostgresStore",
    "mysql": "dj_queue.store.mysql.MySQLStore",
    "sqlite": "dj_queue.store.sqlite.SQLiteStore",
}


@cache
def store_for(alias: str) -> Store:
    """The store of the entry *alias* of `DATABASES`. Opens no connection.

    Raises `UnsupportedDatabase` for a vendor that there is no store for.
    """
    vendor = connections[alias].vendor
    if vendor not in _STORES:
        raise UnsupportedDatabase(
            f"DATABASES[{alias!r}] is of the vendor {vendor!r}; "
            f"dj_queue has stores for {', '.join(_STORES)}"
        )
    # Imported late: each store's module needs the driver of its database.
    module, name = _STORES[vendor].rsplit(".", 1)
    store: type[Store] = getattr(import_module(module), name)
    return store(alias)


def _forget(*, setting: str, **_: object) -> None:
    if setting == "DATABASES":
        store_for.cache_clear()


setting_changed.connect(_forget, dispatch_uid="dj_queue.store")
