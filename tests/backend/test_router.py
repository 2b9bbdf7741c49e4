"""The database router: this app's tables where backends say, and nothing else there."""

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import router
from django.test import override_settings

from dj_queue.config import BACKEND_PATH
from dj_queue.models import Job, Pause, Process, ReadyExecution
from dj_queue.routers import DjQueueRouter
from tests.site.tasks import add

DUMMY = {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}
ROUTED = override_settings(DATABASE_ROUTERS=["dj_queue.routers.DjQueueRouter"])


@pytest.fixture
def routers() -> DjQueueRouter:
    return DjQueueRouter()


def on(database: str):
    return {"BACKEND": BACKEND_PATH, "OPTIONS": {"database_alias": database}}


def test_other_apps_are_none_of_its_business(routers):
    assert routers.db_for_read(ContentType) is None
    assert routers.db_for_write(ContentType) is None
    assert routers.allow_relation(ContentType(), ContentType()) is None
    assert routers.allow_migrate("default", "contenttypes", model_name="contenttype") is None


def test_with_one_backend_everything_is_on_its_database(routers, settings, queue_database):
    settings.TASKS = {"default": on(queue_database)}

    assert routers.db_for_read(Job) == routers.db_for_write(Pause) == queue_database
    assert routers.allow_migrate(queue_database, "dj_queue") is True
    assert routers.allow_migrate("default", "dj_queue") is False


def test_without_tasks_everything_is_on_the_default_database(routers, settings):
    settings.TASKS = {}

    assert routers.db_for_read(Job) == "default"
    assert routers.allow_migrate("default", "dj_queue") is True


def test_default_may_be_another_backend(routers, settings, queue_database):
    settings.TASKS = {"default": DUMMY, "jobs": on(queue_database)}

    assert routers.db_for_read(Job) == routers.db_for_write(Job) == queue_database
    assert routers.allow_migrate(queue_database, "dj_queue") is True
    assert routers.allow_migrate("default", "dj_queue") is False


def test_several_backends_on_several_databases_are_all_migrated(routers, settings, queue_database):
    settings.TASKS = {"second": on(queue_database), "default": on("default")}

    assert routers.allow_migrate("default", "dj_queue") is True
    assert routers.allow_migrate(queue_database, "dj_queue") is True
    assert routers.db_for_read(Job) == queue_database


def test_without_any_backend_of_ours_it_has_no_opinion_where_to_read(routers, settings):
    settings.TASKS = {"default": DUMMY}

    assert routers.db_for_read(Job) is None
    assert routers.db_for_write(Job) is None


def test_a_row_stays_on_the_database_it_came_from(routers, settings, queue_database):
    settings.TASKS = {"first": on("default"), "second": on(queue_database)}
    job = Job()
    job._state.db = queue_database

    assert routers.db_for_read(ReadyExecution, instance=job) == queue_database
    assert routers.db_for_write(ReadyExecution, instance=job) == queue_database
    assert routers.db_for_write(ReadyExecution, instance=Job()) == "default"


def test_relations_are_allowed_only_within_the_app(routers):
    assert routers.allow_relation(Job(), Process()) is True
    assert routers.allow_relation(Job(), ContentType()) is False
    assert routers.allow_relation(ContentType(), Job()) is False


@ROUTED
def test_the_models_read_what_the_backend_writes(settings, queue_database):
    settings.TASKS = {"default": on(queue_database)}

    result = add.enqueue(1, 2)

    assert str(Job.objects.get().id) == result.id
    assert Job.objects.get()._state.db == queue_database
    assert not Job.objects.using("default").exists()
    assert Job.objects.get().ready


@ROUTED
def test_migrate_makes_the_tables_only_where_a_backend_is(settings, queue_database):
    settings.TASKS = {"default": on(queue_database)}

    assert router.allow_migrate_model(queue_database, Job)
    assert not router.allow_migrate_model("default", Job)
    assert router.allow_migrate_model("default", ContentType)
    assert router.allow_migrate_model(queue_database, ContentType)


@ROUTED
def test_results_of_two_backends_on_two_databases_are_apart(settings, queue_database):
    settings.TASKS = {"default": on("default"), "second": on(queue_database)}

    here, there = add.enqueue(1, 2), add.using(backend="second").enqueue(3, 4)

    assert str(Job.objects.using("default").get().id) == here.id
    assert str(Job.objects.using(queue_database).get().id) == there.id
    here.refresh()
    there.refresh()
