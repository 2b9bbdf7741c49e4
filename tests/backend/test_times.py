"""Times where `USE_TZ` is off: naive and local, the same on every path."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.tasks import TaskResultStatus, default_task_backend
from django.utils import timezone

from dj_queue.models import Job, ReadyExecution, ScheduledExecution
from dj_queue.store.shared import django_time
from tests.site.tasks import add

pytestmark = pytest.mark.usefixtures("local_times")


def local_now() -> datetime:
    return datetime.now(ZoneInfo(settings.TIME_ZONE)).replace(tzinfo=None)


def test_the_times_of_a_new_result_are_naive_and_local():
    result = add.enqueue(1, 2)

    assert timezone.is_naive(result.enqueued_at)
    assert abs(local_now() - result.enqueued_at) < timedelta(minutes=1)


def test_a_result_that_is_read_equals_the_one_from_enqueue():
    result = add.enqueue(1, 2)

    assert default_task_backend.get_result(result.id) == result


def test_many_results_equal_those_that_are_read():
    results = default_task_backend.enqueue_all(
        [(add, (1, 2), {}), (add.using(run_after=local_now() + timedelta(hours=5)), (1, 2), {})]
    )

    assert [default_task_backend.get_result(each.id) for each in results] == results


@pytest.mark.parametrize(("hours", "table"), [(2, ScheduledExecution), (-2, ReadyExecution)])
def test_run_after_is_local_and_comes_back_as_it_was(hours, table):
    moment = local_now() + timedelta(hours=hours, microseconds=1)

    result = add.using(run_after=moment).enqueue(1, 2)

    again = default_task_backend.get_result(result.id)
    assert again == result
    assert again.task.run_after == moment == Job.objects.get().scheduled_at
    assert table.objects.count() == 1


def test_an_aware_run_after_is_the_moment_it_names():
    """Django lets it through where USE_TZ is off."""
    moment = datetime(2099, 7, 1, 12, 0, tzinfo=ZoneInfo("UTC"))

    result = add.using(run_after=moment).enqueue(1, 2)

    assert ScheduledExecution.objects.get().scheduled_at == datetime(2099, 7, 1, 14, 0)  # noqa: DTZ001
    assert default_task_backend.get_result(result.id) == result


def test_the_times_of_an_attempt_are_naive_local_and_ordered(worker):
    result = add.enqueue(1, 2)
    job = worker.claim_one()
    result.refresh()
    assert result.status == TaskResultStatus.RUNNING
    assert abs(local_now() - result.started_at) < timedelta(minutes=1)
    worker.succeed(job, 3)

    result.refresh()

    assert timezone.is_naive(result.finished_at)
    assert result.enqueued_at <= result.started_at <= result.finished_at
    assert abs(local_now() - result.finished_at) < timedelta(minutes=1)


def test_naive_times_are_left_alone():
    moment = local_now()

    assert django_time(moment) is moment
    assert django_time(None) is None
