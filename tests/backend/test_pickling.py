"""Results travel: to a cache, to another process, and back."""

import copy
import pickle
from datetime import timedelta

import pytest
from django.tasks import default_task_backend
from django.utils import timezone

from tests.site import catalogue
from tests.site.tasks import add

pytestmark = pytest.mark.since_django(6, 1)


def test_a_new_result_is_pickled():
    later = timezone.now() + timedelta(hours=1)
    result = catalogue.echo.using(priority=3, queue_name="mail", run_after=later).enqueue(1, x=[2])

    again = pickle.loads(pickle.dumps(result))

    assert again == result
    assert again.task.run_after == later
    again.refresh()


def test_a_finished_result_is_pickled_with_its_value(worker):
    result = add.enqueue(1, 2)
    worker.succeed(worker.claim_one(), {"sum": 3})
    result.refresh()

    again = pickle.loads(pickle.dumps(result))

    assert again == result
    assert again.return_value == {"sum": 3}


def test_a_failed_result_is_pickled_with_its_errors(worker):
    result = add.enqueue(1, 2)
    worker.fail(worker.claim_one())
    result = default_task_backend.get_result(result.id)

    assert pickle.loads(pickle.dumps(result)).errors == result.errors


def test_a_copy_of_a_result_is_equal():
    result = add.enqueue(1, 2)

    assert copy.copy(result) == copy.deepcopy(result) == result
