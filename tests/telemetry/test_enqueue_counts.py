"""What is enqueued is counted where a project asks for it: after the commit, once, and rarely written."""

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from dj_queue.models import Occurrence
from dj_queue.models.statistics import ENQUEUED, OTHER_TASKS
from dj_queue.reads import occurrences
from dj_queue.telemetry import enqueue_counts
from tests.site import tasks

ADD = "tests.site.tasks.add"


@pytest.fixture(autouse=True)
def counts(settings):
    settings.TASKS = {
        "default": {**settings.TASKS["default"], "OPTIONS": {"statistics_enqueued": True}}
    }
    counts = enqueue_counts._counts
    counts.forget()
    counts._due_at = 0.0
    yield counts
    counts.forget()


def counted():
    return occurrences.enqueued("default", "default")


def test_the_first_is_written_at_once_and_others_when_it_is_time(counts):
    tasks.add.enqueue(1, 1)
    assert counted() == {("default", ADD): 1}

    with CaptureQueriesContext(connection) as asked:
        tasks.add.enqueue(1, 1)
        tasks.add.using(queue_name="mail").enqueue(1, 1)
    assert not [query for query in asked if "occurrences" in query["sql"]]
    assert counted() == {("default", ADD): 1}

    counts._due_at = 0.0
    tasks.add.enqueue(1, 1)

    assert counted() == {("default", ADD): 3, ("mail", ADD): 1}


def test_many_at_once_are_as_many(counts):
    backend = tasks.add.get_backend()
    backend.enqueue_all([(tasks.add, (1, number), {}) for number in range(5)])

    assert counted() == {("default", ADD): 5}


def test_what_is_rolled_back_was_not_enqueued(counts):
    with transaction.atomic():
        tasks.add.enqueue(1, 1)
        transaction.set_rollback(True)
    with transaction.atomic():
        tasks.add.enqueue(1, 1)
        assert counted() == {}

    assert counted() == {("default", ADD): 1}


def test_nothing_is_written_inside_of_a_transaction_and_nothing_is_lost(counts):
    counts._due_at = float("inf")
    tasks.add.enqueue(1, 1)
    with transaction.atomic():
        counts.write()
        assert counted() == {}

    counts.write()

    assert counted() == {("default", ADD): 1}


def test_tasks_beyond_a_number_are_counted_together(counts, monkeypatch):
    monkeypatch.setattr(enqueue_counts, "_MOST_TASKS", 0)
    monkeypatch.setattr(counts, "_tasks", set())
    tasks.add.enqueue(1, 1)

    assert counted() == {("default", OTHER_TASKS): 1}


def test_without_the_option_nothing_is_counted(counts, settings):
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": {}}}
    tasks.add.enqueue(1, 1)
    counts.write()

    assert not Occurrence.objects.filter(kind=ENQUEUED).exists()
