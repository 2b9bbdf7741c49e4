"""Several backends on several databases: tables where they belong, jobs run where they were written."""

from copy import deepcopy

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection, connections

from dj_queue.config import BACKEND_PATH
from dj_queue.models import Job, Process
from dj_queue.runtime.supervisor import Supervisor
from dj_queue.store import store_for
from tests.site.tasks import add
from tests.waiting import wait_until

OTHERS = {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}
ROUTERS = ["dj_queue.routers.DjQueueRouter"]


def on(database):
    return {"BACKEND": BACKEND_PATH, "OPTIONS": {"database_alias": database}}


@pytest.fixture
def empty_databases():
    """Makes databases without any table, on the same server; their aliases."""
    made = []

    def make(*aliases):
        for alias in aliases:
            entry = deepcopy(connections["default"].settings_dict)
            suffix = f".{alias}" if connection.vendor == "sqlite" else f"_{alias}"
            entry["NAME"] = entry["TEST"]["NAME"] = f"{entry['NAME']}{suffix}"
            django_settings.DATABASES[alias] = connections.settings[alias] = entry
            connections[alias].creation._create_test_db(verbosity=0, autoclobber=True)
            made.append(alias)
        return aliases

    yield make
    for alias in made:
        connections[alias].creation.destroy_test_db(connections[alias].settings_dict["NAME"], 0)
        del connections[alias]
        del django_settings.DATABASES[alias]
        connections.settings.pop(alias, None)
    store_for.cache_clear()


def tables(alias):
    """The apps that have tables in a database."""
    names = connections[alias].introspection.table_names()
    return {
        "queue" if name.startswith("dj_queue") else "django"
        for name in names
        if name.startswith("dj_queue") or name == "django_content_type"
    }


def test_migrate_makes_the_tables_where_backends_are_in_whatever_order(settings, empty_databases):
    order = empty_databases("before", "queue_only", "after")
    settings.DATABASE_ROUTERS = ROUTERS
    # `default` is somebody else's, and two backends share one database.
    settings.TASKS = {"default": OTHERS, "jobs": on("queue_only"), "mail": on("queue_only")}

    for alias in order:
        call_command("migrate", database=alias, verbosity=0)

    assert [tables(alias) for alias in order] == [{"django"}, {"django", "queue"}, {"django"}]
    result = add.using(backend="mail").enqueue(1, 2)
    assert str(Job.objects.get().id) == result.id
    for alias in order:
        call_command("migrate", "dj_queue", database=alias, verbosity=0)  # There is nothing to do.


def test_each_backend_runs_its_own_jobs_on_its_own_database(settings, queue_database):
    settings.DATABASE_ROUTERS = ROUTERS
    settings.TASKS = {"here": on("default"), "there": on(queue_database), "default": OTHERS}
    runtimes = [Supervisor.from_backend_config(backend_alias=alias) for alias in ("here", "there")]
    try:
        for runtime in runtimes:
            runtime.start()
            assert runtime.wait_until_ready(15)
        here = add.using(backend="here").enqueue(1, 2)
        there = add.using(backend="there").enqueue(3, 4)

        wait_until(Job.objects.using("default").filter(id=here.id).finished().exists)
        wait_until(Job.objects.using(queue_database).filter(id=there.id).finished().exists)
        registered = {
            database: set(Process.objects.using(database).values_list("backend_alias", flat=True))
            for database in ("default", queue_database)
        }
    finally:
        for runtime in runtimes:
            runtime.stop(5)

    assert registered == {"default": {"here"}, queue_database: {"there"}}
    here.refresh()
    there.refresh()
    assert (here.return_value, there.return_value) == (3, 7)
