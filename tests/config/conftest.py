"""Settings for the tests; nothing here connects to a database."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

from dj_queue.config import BACKEND_PATH, BackendConfig, load_backend_config
from dj_queue.store import store_for


@pytest.fixture(scope="session", autouse=True)
def database() -> None:
    """In place of the one that makes the database of the run."""


@pytest.fixture(autouse=True)
def empty_tables(django_db_blocker) -> Iterator[None]:
    """In place of the one that empties the tables."""
    with django_db_blocker.block():
        yield


@pytest.fixture
def load() -> Callable[..., BackendConfig]:
    """Reads the configuration of one backend from the given options."""

    def load_one(alias: str = "default", queues: Any = (), **options: Any) -> BackendConfig:
        tasks = {alias: {"BACKEND": BACKEND_PATH, "QUEUES": queues, "OPTIONS": options}}
        return load_backend_config(alias, tasks_settings=tasks)

    return load_one


@pytest.fixture
def add_database(monkeypatch) -> Iterator[Callable[..., None]]:
    """Adds an entry to `DATABASES` until the test ends."""
    added: list[str] = []

    def add(alias: str, engine: str, **entry: Any) -> None:
        databases = connections.configure_settings(
            {"default": {}, alias: {"ENGINE": engine, **entry}}
        )
        monkeypatch.setitem(settings.DATABASES, alias, databases[alias])
        monkeypatch.setitem(connections.settings, alias, databases[alias])
        added.append(alias)

    yield add
    for alias in added:
        if hasattr(connections._connections, alias):
            del connections[alias]
    store_for.cache_clear()
