"""Django's signal and log line for a task that was enqueued."""

import logging

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.tasks import default_task_backend
from django.tasks.signals import log_task_enqueued, task_enqueued

from dj_queue.backend import DjQueueBackend
from dj_queue.models import Job
from tests.site import catalogue
from tests.site.tasks import add


def told_by_django(caplog) -> list[str]:
    """What Django's own receivers logged."""
    return [each.getMessage() for each in caplog.records if each.name == "django.tasks"]


@pytest.fixture
def received(receive) -> list:
    found: list = []
    receive(task_enqueued, lambda sender, task_result, **_: found.append((sender, task_result)))
    return found


@pytest.mark.parametrize("way", ["enqueue", "aenqueue"])
def test_enqueue_sends_the_signal_with_the_backends_class_and_the_result(way, received):
    result = add.enqueue(1, 2) if way == "enqueue" else async_to_sync(add.aenqueue)(1, 2)

    ((sender, task_result),) = received
    assert sender is DjQueueBackend
    assert task_result is result


def test_every_job_of_many_sends_its_signal_in_order(received):
    results = default_task_backend.enqueue_all([(add, (number, 1), {}) for number in range(3)])

    assert [task_result for _, task_result in received] == results


def test_the_job_is_written_when_the_signal_is_sent(receive):
    seen: list = []
    receive(
        task_enqueued,
        lambda task_result, **_: seen.append(Job.objects.filter(id=task_result.id).exists()),
    )

    add.enqueue(1, 2)

    assert seen == [True]


def test_the_signal_is_sent_before_the_callers_transaction_ends(received):
    with transaction.atomic():
        add.enqueue(1, 2)
        assert len(received) == 1


def test_a_receiver_that_fails_loses_neither_the_job_nor_the_other_receivers(
    receive, received, caplog
):
    def fail(**_):
        raise ValueError("the receiver failed")

    receive(task_enqueued, fail)

    result = add.enqueue(1, 2)

    assert default_task_backend.get_result(result.id) == result
    assert [task_result for _, task_result in received] == [result]
    assert "the receiver failed" in caplog.text


def test_a_receiver_may_be_a_coroutine(receive):
    heard: list = []

    async def hear(task_result, **_):
        heard.append(task_result)

    receive(task_enqueued, hear)

    results = [add.enqueue(1, 2), async_to_sync(add.aenqueue)(3, 4)]

    assert heard == results


def test_a_job_that_was_refused_sends_no_signal(received):
    with pytest.raises(TypeError):
        default_task_backend.enqueue_all([(add, (1, 2), {}), (add, (object(),), {})])

    assert received == []


def test_django_logs_the_job_without_its_arguments(caplog):
    with caplog.at_level(logging.DEBUG, "django.tasks"):
        result = catalogue.echo.enqueue("a secret", password="another")

    assert told_by_django(caplog) == [
        f"Task id={result.id} path=tests.site.catalogue.echo enqueued backend=default"
    ]
    assert "secret" not in caplog.text


def test_receivers_are_told_at_any_level_of_the_log(received, caplog):
    with caplog.at_level(logging.CRITICAL, "django.tasks"):
        add.enqueue(1, 2)

    assert len(received) == 1


def test_receivers_are_told_when_djangos_own_receiver_is_disconnected(received, caplog):
    task_enqueued.disconnect(log_task_enqueued)
    try:
        with caplog.at_level(logging.CRITICAL, "django.tasks"):
            add.enqueue(1, 2)
    finally:
        task_enqueued.connect(log_task_enqueued)

    assert len(received) == 1
