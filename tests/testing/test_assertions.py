"""What was enqueued: lists, assertions and captures."""

from datetime import UTC, datetime

import pytest
from django.db import transaction
from django.test import TestCase

from dj_queue.api import enqueue_on_commit
from dj_queue.config import BACKEND_PATH
from dj_queue.models import Job
from dj_queue.testing import (
    assert_enqueued,
    assert_not_enqueued,
    capture_enqueued,
    enqueued,
    run_jobs,
)
from tests.site.tasks import add, noop


def complaint(function, *args, **kwargs):
    with pytest.raises(AssertionError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def test_enqueued_lists_all_jobs_oldest_first_whatever_became_of_them():
    first, second = add.enqueue(1, 2), noop.using(queue_name="mail", priority=5).enqueue()
    run_jobs("default")

    assert [result.id for result in enqueued()] == [first.id, second.id]
    assert [result.id for result in enqueued(add)] == [first.id]
    assert [result.id for result in enqueued(queue_name="mail")] == [second.id]
    assert enqueued(add)[0].return_value == 3


def test_an_assertion_that_holds_returns_the_results():
    results = [add.enqueue(1, 2), add.enqueue(1, b=2), add.using(queue_name="mail").enqueue(1, 2)]

    assert assert_enqueued(add, args=(1,), kwargs={"b": 2}) == [results[1]]
    assert len(assert_enqueued(add, count=3)) == 3
    assert len(assert_enqueued(add, count=None)) == 3
    assert len(assert_enqueued(add, [1, 2], count=2)) == 2
    assert len(assert_enqueued(add, [1, 2], {}, "mail")) == 1
    assert_enqueued(noop, count=0)
    assert_not_enqueued(noop)
    assert_not_enqueued(add, args=[2, 1])


def test_arguments_are_compared_as_they_are_stored():
    add.enqueue((1, (2,)), {"a": b"x"})

    assert_enqueued(add, ((1, (2,)), {"a": "x"}))


def test_rich_arguments_are_compared_as_they_are(settings):
    options = {"rich_arguments": True}
    settings.TASKS = {"default": {"BACKEND": BACKEND_PATH, "OPTIONS": options}}
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    add.enqueue(moment, 1)

    assert_enqueued(add, [moment, 1])
    assert_not_enqueued(add, [moment.isoformat(), 1])


def test_a_wrong_count_is_told_with_everything_that_was_enqueued():
    add.enqueue(1, b="x")
    noop.using(queue_name="mail").enqueue()

    assert complaint(assert_enqueued, add, args=[2]) == (
        "tests.site.tasks.add with args=[2] was enqueued 0 times, expected 1. "
        "All jobs of backend 'default':\n"
        "  tests.site.tasks.add args=[1] kwargs={'b': 'x'} in 'default'\n"
        "  tests.site.tasks.noop args=[] kwargs={} in 'mail'"
    )
    assert "expected 2" in complaint(assert_enqueued, add, count=2)
    assert "add was enqueued 1 times, expected 0" in complaint(assert_not_enqueued, add)
    assert "queue_name='none' was enqueued 0 times, expected at least 1" in complaint(
        assert_enqueued, add, queue_name="none", count=None
    )


def test_without_any_job_it_says_so():
    assert complaint(assert_enqueued, add).endswith("All jobs of backend 'default':\n  (none)")


def test_each_backend_is_looked_at_by_itself(settings):
    entry = {"BACKEND": BACKEND_PATH}
    settings.TASKS = {"default": entry, "other": entry}
    add.using(backend="other").enqueue(1, 2)

    assert_not_enqueued(add)
    assert_enqueued(add, backend_alias="other")
    assert_enqueued(add.using(backend="other"))
    assert len(enqueued(backend_alias="other")) == 1
    assert enqueued() == []


def test_a_capture_has_what_was_enqueued_in_its_block_only():
    add.enqueue(0, 0)
    with capture_enqueued() as calls:
        result = add.enqueue(1, b=2)
        assert len(calls) == 1
    add.enqueue(0, 0)

    ((task, args, kwargs, captured),) = calls
    assert (task.func, args, kwargs) == (add.func, [1], {"b": 2})
    assert captured is result


class CapturesInATestCase(TestCase):
    """Where no transaction ever commits."""

    def test_what_waits_for_a_commit_is_captured_too(self):
        enqueue_on_commit(noop)
        with capture_enqueued() as calls:
            enqueue_on_commit(add, 1, b=2)
            transaction.on_commit(lambda: None)
            assert calls == []

        assert [(call.task.func, call.args, call.kwargs, call.result) for call in calls] == [
            (add.func, [1], {"b": 2}, None)
        ]
        assert not Job.objects.exists()

    def test_with_execute_it_is_enqueued_at_the_end_of_the_block(self):
        called = []
        enqueue_on_commit(noop)
        with capture_enqueued(execute=True) as calls:
            transaction.on_commit(lambda: called.append(1))
            transaction.on_commit(lambda: enqueue_on_commit(add, 3, 4))
            enqueue_on_commit(add, 1, 2)
            assert not Job.objects.exists()

        assert [call.args for call in calls] == [[1, 2], [3, 4]]
        assert all(call.result is not None for call in calls)
        assert called == [1]
        assert Job.objects.count() == 2

    def test_a_block_that_raises_calls_nothing(self):
        with pytest.raises(TypeError), capture_enqueued(execute=True):
            enqueue_on_commit(add, enqueue_on_commit(add, 1, 2), object())

        assert not Job.objects.exists()


def test_outside_of_a_transaction_there_is_nothing_to_wait_for():
    with capture_enqueued() as calls, transaction.atomic():
        enqueue_on_commit(add, 1, 2)
        add.enqueue(3, 4)

    assert [call.args for call in calls] == [[3, 4], [1, 2]]
