"""What `manage.py check` says of the settings."""

import pytest
from django.core import checks
from django.core.checks import run_checks
from django.db import connections
from django.tasks import task_backends
from django.test import override_settings

from dj_queue.config import BACKEND_PATH

SQLITE = "django.db.backends.sqlite3"


def tasks(**options):
    return {"default": {"BACKEND": BACKEND_PATH, "OPTIONS": options}}


@pytest.fixture(autouse=True)
def routed(settings):
    settings.DATABASE_ROUTERS = ["dj_queue.routers.DjQueueRouter"]


@pytest.fixture
def quiet(add_database):
    """A database that nothing is said about."""
    add_database("quiet", SQLITE, NAME=":memory:", OPTIONS={"transaction_mode": "IMMEDIATE"})


def said(*, deploys=False, **options):
    """What the whole run of checks says of a backend with *options*."""
    return said_of(tasks(**options), deploys=deploys)


def said_of(settings, *, deploys=False):
    """What the whole run of checks says with `TASKS` as given."""
    with override_settings(TASKS=settings):
        found = run_checks(databases=[], include_deployment_checks=deploys)
        return [each for each in found if (each.id or "").startswith("dj_queue.")]


def test_good_settings_are_passed_over_in_silence(quiet):
    assert said(database_alias="quiet") == []


def test_a_wrong_setting_is_e001_with_its_place(quiet):
    (message,) = said(database_alias="quiet", workers=[{"threads": 0}])

    assert isinstance(message, checks.Error)
    assert message.id == "dj_queue.E001"
    assert message.msg == (
        "TASKS['default']['OPTIONS']['workers'][0]['threads'] must be "
        "a whole number of at least 1, not 0"
    )


def test_a_database_that_is_not_there_is_e001():
    (message,) = said(database_alias="elsewhere")

    assert message.id == "dj_queue.E001"
    assert "['database_alias'] must be one of the keys of DATABASES" in message.msg


@pytest.mark.parametrize("queues", ["default", 5, [["a"]], [5]], ids=repr)
def test_wrong_queues_are_e001_and_not_a_crash(queues):
    settings = {"default": {"BACKEND": BACKEND_PATH, "QUEUES": queues}}

    with override_settings(TASKS=settings):
        found = [
            each for each in run_checks(databases=[]) if (each.id or "").startswith("dj_queue.")
        ]

    assert [each.id for each in found] == ["dj_queue.E001"]
    assert found[0].msg.startswith("TASKS['default']['QUEUES'] must be a list of queue names")


@pytest.mark.parametrize("path", ["no.such.path", "tests.config.test_checks.SQLITE"])
def test_a_handler_of_errors_that_cannot_be_called_is_e002(quiet, path):
    (message,) = said(database_alias="quiet", on_thread_error=path)

    assert isinstance(message, checks.Error)
    assert message.id == "dj_queue.E002"
    assert message.msg.startswith("TASKS['default']['OPTIONS']['on_thread_error'] ")
    assert path in message.msg


def test_a_handler_of_errors_that_can_be_called_is_passed_over(quiet):
    assert said(database_alias="quiet", on_thread_error="tests.config.test_checks.said") == []


def test_a_database_without_a_store_is_e005(add_database):
    add_database("odd", "django.db.backends.dummy")

    (message,) = said(database_alias="odd")

    assert isinstance(message, checks.Error)
    assert message.id == "dj_queue.E005"
    assert message.msg == (
        "DATABASES['odd'] is of the vendor 'unknown'; "
        "dj_queue has stores for postgresql, mysql, sqlite"
    )


@pytest.mark.parametrize("options", [{}, {"transaction_mode": "DEFERRED"}], ids=repr)
def test_sqlite_with_deferred_transactions_is_w001(add_database, options):
    add_database("file", SQLITE, NAME=":memory:", OPTIONS=options)

    (message,) = said(database_alias="file")

    assert isinstance(message, checks.Warning)
    assert message.id == "dj_queue.W001"
    assert message.msg.startswith("DATABASES['file'] ")
    assert "OPTIONS['transaction_mode'] = 'IMMEDIATE'" in message.hint


def test_several_findings_are_told_together(add_database):
    add_database("file", SQLITE, NAME=":memory:")

    found = said(database_alias="file", on_thread_error="no.such.path")

    assert [each.id for each in found] == ["dj_queue.E002", "dj_queue.W001"]


def test_each_backend_is_checked(quiet):
    both = {
        "default": {"BACKEND": BACKEND_PATH, "OPTIONS": {"database_alias": "quiet", "mode": "x"}},
        "mail": {"BACKEND": BACKEND_PATH, "OPTIONS": {"database_alias": "quiet", "mod": "x"}},
    }

    with override_settings(TASKS=both):
        found = {alias: task_backends[alias].check() for alias in both}

    assert {alias: [each.id for each in messages] for alias, messages in found.items()} == {
        "default": ["dj_queue.E001"],
        "mail": ["dj_queue.E001"],
    }
    assert "TASKS['mail']['OPTIONS']['mod'] is not an option" in found["mail"][0].msg


def test_a_check_connects_to_nothing(quiet):
    said(database_alias="quiet")

    assert connections["quiet"].connection is None


def test_a_check_sees_settings_as_they_are_now(quiet):
    assert said(database_alias="quiet", mode="x") != []
    assert said(database_alias="quiet", mode="fork") == []


def test_a_queue_that_no_worker_serves_is_w002(quiet):
    entry = {
        "BACKEND": BACKEND_PATH,
        "QUEUES": ["mail", "images", "images_large", "other"],
        "OPTIONS": {"database_alias": "quiet", "workers": {"queues": ["images*", "none"]}},
    }

    (message,) = said_of({"default": entry})

    assert isinstance(message, checks.Warning)
    assert message.id == "dj_queue.W002"
    assert message.msg == (
        "TASKS['default']['QUEUES'] has 'mail', 'other', which no worker of these settings serves."
    )
    assert said_of({"default": {**entry, "QUEUES": []}}) == []
    assert said_of({"default": {**entry, "QUEUES": ["none", "images"]}}) == []


def test_settings_without_workers_are_those_of_a_project_that_only_enqueues(quiet):
    entry = {
        "BACKEND": BACKEND_PATH,
        "QUEUES": ["mail"],
        "OPTIONS": {"database_alias": "quiet", "workers": []},
    }

    assert said_of({"default": entry}) == []


def test_a_database_of_its_own_without_a_router_is_w003(quiet, settings):
    settings.DATABASE_ROUTERS = []

    (message,) = said(database_alias="quiet")

    assert isinstance(message, checks.Warning)
    assert message.id == "dj_queue.W003"
    assert message.msg == (
        "The queue is on DATABASES['quiet'], and no router of DATABASE_ROUTERS knows of it."
    )


def test_a_router_of_the_projects_own_will_do(quiet, settings):
    settings.DATABASE_ROUTERS = ["tests.config.test_checks.RouterOfTheProject"]

    assert said(database_alias="quiet") == []


class RouterOfTheProject:
    def db_for_read(self, model, **hints):
        return "quiet" if model._meta.app_label == "dj_queue" else None


def test_finished_jobs_that_are_kept_for_ever_are_w004_before_a_deployment(quiet):
    kept = {"database_alias": "quiet", "clear_finished_jobs_after": None}

    (message,) = said(deploys=True, **kept)

    assert isinstance(message, checks.Warning)
    assert message.id == "dj_queue.W004"
    assert message.msg == "Finished jobs of the backend 'default' are kept for ever."
    assert said(**kept) == []
    assert said(deploys=True, preserve_finished_jobs=False, **kept) == []
    assert said(deploys=True, database_alias="quiet") == []
