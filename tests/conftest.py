"""The world of the tests: one real database for the whole run, emptied after every test.

No test runs inside a transaction that is rolled back: workers, other connections and other processes
must see what a test writes.
"""

import signal
from collections.abc import Iterator

import django
import pytest
from django.apps import apps
from django.db import connection
from django.test.utils import setup_databases, teardown_databases


def pytest_configure() -> None:
    # A shell has what it runs in the background ignore ^C, and every process that is started here would, too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items) -> None:
    """Leave out what is no promise here. Not skipped: a skip is something that is missing."""
    elsewhere = [item for item in items if not _is_promised(item)]
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]


def _is_promised(item) -> bool:
    vendors, since = (item.get_closest_marker(name) for name in ("only_on", "since_django"))
    return (vendors is None or connection.vendor in vendors.args) and (
        since is None or since.args <= django.VERSION
    )


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker) -> Iterator[None]:
    # pytest-django makes the databases that marked tests ask for; here nearly all use one, unmarked.
    with django_db_blocker.unblock():
        databases = setup_databases(verbosity=0, interactive=False)
        yield
        teardown_databases(databases, verbosity=0)


@pytest.fixture(scope="session", autouse=True)
def database(django_db_setup, django_db_blocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture(autouse=True)
def empty_tables(database) -> Iterator[None]:
    yield
    tables = [
        model._meta.db_table
        for model in reversed(list(apps.get_models()))
        if model._meta.app_label in ("dj_queue", "site") and model._meta.managed
    ]
    # Children before parents: foreign keys are checked at once on MySQL.
    tables.sort(key=lambda table: table in ("dj_queue_jobs", "dj_queue_processes"))
    with connection.cursor() as cursor:
        # Rows that point to each other in one table cannot go in one statement on MySQL.
        cursor.execute("UPDATE dj_queue_processes SET supervisor_id = NULL")
        for table in tables:
            cursor.execute(f"DELETE FROM {table}")


@pytest.fixture
def vendor() -> str:
    """`postgresql`, `mysql` or `sqlite`; for what a vendor promises, ask the store instead."""
    return connection.vendor
