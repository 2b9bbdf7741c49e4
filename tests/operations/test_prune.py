"""What has been kept long enough is deleted: by functions, by the command, and by the leader."""

import math
import time
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from dj_queue import events
from dj_queue.config import BACKEND_PATH, backend_config
from dj_queue.models import FailedExecution, Job, RecurringExecution
from dj_queue.operations import cleanup
from dj_queue.runtime.retention import BATCH, Pace, Retention
from dj_queue.runtime.supervisor import Supervisor
from tests.operations.old_jobs import DAY, make_finished, make_old
from tests.site.tasks import add, noop
from tests.waiting import wait_until


def age_failures(**delta):
    FailedExecution.objects.update(created_at=timezone.now() - timedelta(**delta))


def make_records(count, *, ago=2 * DAY, key="nightly"):
    moment = timezone.now() - ago
    RecurringExecution.objects.bulk_create(
        RecurringExecution(
            task_key=key, run_at=moment + timedelta(seconds=place), created_at=moment
        )
        for place in range(count)
    )


def prune(**options):
    out = StringIO()
    call_command("dj_queue_prune", stdout=out, **options)
    return out.getvalue().splitlines()


def work_until_done(retention):
    deadline = time.monotonic() + 30
    while retention.work() < 0.5:
        assert time.monotonic() < deadline


def test_finished_jobs_go_one_batch_per_call():
    make_finished(3)
    young = make_finished(1, ago=timedelta(hours=1))

    assert cleanup.clear_finished_jobs(batch_size=2) == 2
    assert cleanup.clear_finished_jobs(batch_size=2) == 1
    assert cleanup.clear_finished_jobs(batch_size=2) == 0
    assert [job.pk for job in Job.objects.all()] == young


def test_batches_go_on_until_nothing_old_is_left():
    """And pass what stays."""
    make_finished(3, ago=3 * DAY)
    stay = make_old(3)
    make_finished(2, ago=DAY * 1.5)

    assert list(cleanup.finished_batches(batch_size=2)) == [2, 2, 1]
    assert {job.pk for job in Job.objects.all()} == set(stay)


@pytest.mark.parametrize("between", [0, 50])
def test_a_batch_needs_no_list_of_ids_unless_most_of_what_lies_between_stays(
    between, count_statements
):
    make_finished(10, ago=3 * DAY)
    stay = make_old(between, ago=2.5 * DAY)
    make_finished(10)

    with count_statements() as statements:
        assert cleanup.clear_finished_jobs(batch_size=20) == 20

    (delete,) = [each["sql"] for each in statements if each["sql"].startswith("DELETE")]
    assert (" IN (" in delete) is bool(between)
    assert {job.pk for job in Job.objects.all()} == set(stay)


def test_only_jobs_that_ended_are_finished(make_failed, worker):
    noop.enqueue()
    worker.claim_one()
    noop.enqueue()
    make_failed()

    assert cleanup.clear_finished_jobs(older_than=0) == 0
    assert Job.objects.count() == 3


def test_the_age_may_be_given_in_seconds_and_as_a_time():
    make_finished(1, ago=timedelta(hours=2))

    assert cleanup.clear_finished_jobs(older_than=3 * 3600) == 0
    assert cleanup.clear_finished_jobs(older_than=timedelta(hours=1)) == 1


def test_the_time_may_be_given():
    make_finished(1, ago=timedelta(hours=2))

    assert cleanup.clear_finished_jobs(now=timezone.now() + DAY) == 1


@pytest.mark.parametrize("age", [-1, float("nan"), timedelta(seconds=-1)])
def test_an_age_is_not_negative(age):
    with pytest.raises(ValueError, match="older_than: expected at least 0 seconds"):
        cleanup.clear_finished_jobs(older_than=age)


def test_an_age_may_be_longer_than_all_time():
    make_finished(1)

    assert cleanup.clear_finished_jobs(older_than=1e18) == 0


def test_only_jobs_of_the_task_go():
    make_finished(2)
    make_finished(1, ago=3 * DAY, task="tests.site.tasks.add")

    assert cleanup.clear_finished_jobs(task_path="tests.site.tasks.add") == 1
    assert Job.objects.count() == 2


def test_without_an_age_nothing_goes(use_tasks, make_failed):
    use_tasks(default={"clear_finished_jobs_after": None})
    make_finished(1)
    make_failed()
    make_records(1)

    assert cleanup.clear_finished_jobs() == 0
    assert cleanup.clear_failed_jobs() == 0
    assert cleanup.clear_recurring_executions() == 0


def test_another_backend_keeps_its_jobs(use_tasks):
    use_tasks(default={}, other={})
    make_finished(1)
    make_finished(1, ago=3 * DAY, backend="other")

    assert cleanup.clear_finished_jobs() == 1
    assert Job.objects.get().backend_alias == "other"
    assert cleanup.clear_finished_jobs(backend_alias="other") == 1


def test_failed_jobs_go_by_the_age_of_their_failure(make_failed):
    make_failed(2)
    age_failures(days=2)
    make_failed(1, task=add.using(priority=1))
    assert cleanup.clear_failed_jobs(older_than=86_400, task_path="nobody") == 0

    assert cleanup.clear_failed_jobs(older_than=86_400) == 2

    assert Job.objects.count() == FailedExecution.objects.count() == 1


def test_a_failed_job_that_waits_for_its_retry_stays(make_failed):
    make_failed()
    FailedExecution.objects.update(retry_at=timezone.now() + DAY)
    age_failures(days=2)

    assert cleanup.clear_failed_jobs(older_than=1) == 0


def test_records_go_and_their_jobs_stay():
    make_records(2)
    make_records(1, key="hourly", ago=3 * DAY)
    make_records(1, ago=timedelta(0))

    assert cleanup.clear_recurring_executions(older_than=3600, task_key="hourly") == 1
    assert cleanup.clear_recurring_executions(older_than=3600) == 2
    assert RecurringExecution.objects.count() == 1


def test_jobs_alone_are_counted(make_failed):
    """Not the rows that went with them."""
    ids = make_finished(2)
    RecurringExecution.objects.create(job_id=ids[0], task_key="k", run_at=timezone.now())
    make_failed(1)
    age_failures(days=2)

    assert cleanup.clear_finished_jobs() == 2
    assert cleanup.clear_failed_jobs(older_than=1) == 1
    assert RecurringExecution.objects.get().job_id is None


def test_a_job_that_is_also_in_a_state_stays_for_somebody_to_look_at():
    ids = make_finished(2)
    FailedExecution.objects.create(job_id=ids[0], exception_class="x", message="", traceback="")

    assert cleanup.clear_finished_jobs() == 1
    assert Job.objects.get().pk == ids[0]


@pytest.mark.parametrize("kind", ["finished", "failed"])
def test_a_batch_costs_the_same_however_many_rows_it_has(kind, count_statements, make_failed):
    counts = []
    for size in (10, 100):
        if kind == "finished":
            make_finished(size)
            clear = cleanup.clear_finished_jobs
        else:
            make_failed(size)
            age_failures(days=2)
            clear = cleanup.clear_failed_jobs
        with count_statements() as statements:
            assert clear(older_than=3600) == size
        counts.append(len(statements))

    assert counts[0] == counts[1]
    if connection.vendor == "postgresql":
        assert counts[0] <= 8


def test_the_command_tells_what_it_removed(make_failed):
    make_finished(2)
    make_failed()
    age_failures(days=2)
    make_records(1)

    assert prune() == ["finished jobs: 2 removed"]
    assert prune(failed_older_than=3600, recurring_older_than=3600) == [
        "finished jobs: 0 removed",
        "failed jobs: 1 removed",
        "records of recurring tasks: 1 removed",
    ]


def test_the_command_says_when_there_may_be_more():
    make_finished(5)

    lines = prune(batch_size=2)

    assert lines[0] == "finished jobs: 2 removed"
    assert "there may be more" in lines[1]
    assert prune(batch_size=2, all=True) == ["finished jobs: 3 removed"]


def test_a_dry_run_removes_nothing(make_failed):
    make_finished(3)
    make_failed()

    assert prune(dry_run=True, batch_size=2, failed_older_than=0) == [
        "finished jobs: 3 to remove",
        "failed jobs: 1 to remove",
    ]
    assert Job.objects.count() == 4


def test_the_command_takes_a_task_and_a_key():
    make_finished(1)
    make_records(1)

    lines = prune(task_path="nobody", task_key="nobody", recurring_older_than=0)

    assert lines == ["finished jobs: 0 removed", "records of recurring tasks: 0 removed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"older_than": -1}, "--older-than: expected at least 0 seconds, found -1"),
        ({"failed_older_than": float("nan")}, "--failed-older-than"),
        ({"batch_size": 0}, "--batch-size: expected a whole number above 0, found 0"),
        ({"backend": "nobody"}, "nobody"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(options, message):
    make_finished(1)

    with pytest.raises(CommandError, match=message):
        prune(**options)
    assert Job.objects.count() == 1


def test_the_leader_clears_all_kinds_and_tells(use_tasks, make_failed, heard):
    told = heard(events.OldJobsCleared)
    use_tasks(
        default={
            "clear_failed_jobs_after": 3600,
            "clear_recurring_executions_after": 3600,
        }
    )
    make_finished(2500)
    make_failed(2)
    age_failures(days=2)
    make_records(3)
    young = make_finished(1, ago=timedelta(hours=1))
    retention = Retention(backend_config("default"))

    work_until_done(retention)

    assert [job.pk for job in Job.objects.all()] == young
    assert (FailedExecution.objects.count(), RecurringExecution.objects.count()) == (0, 0)
    assert sum(event.finished for event in told) == 2500
    assert (sum(event.failed for event in told), sum(event.recurring for event in told)) == (2, 3)


def test_retention_that_is_not_configured_has_nothing_to_do(use_tasks):
    use_tasks(default={"clear_finished_jobs_after": None, "clear_statistics_after": None})
    make_finished(1)
    retention = Retention(backend_config("default"))

    assert (retention.is_configured, retention.work()) == (False, math.inf)
    assert Job.objects.count() == 1


def test_retention_stops_when_its_time_is_over():
    make_finished(2)
    retention = Retention(backend_config("default"))

    assert retention.work(until=time.monotonic() - 1) < 1
    assert Job.objects.count() == 2

    work_until_done(retention)
    assert Job.objects.count() == 0


def test_when_time_is_over_the_next_kind_is_first():
    """Where jobs end as fast as they are deleted, there is always more of the first."""
    retention = Retention(backend_config("default"))
    first, second, *_ = retention._kinds

    retention.work(until=time.monotonic() - 1)

    assert retention._kinds[0] is second
    assert retention._kinds[-1] is first


def test_where_one_transaction_writes_at_a_time_batches_are_short_and_far_between():
    shared, alone = Pace(has_one_writer=False), Pace(has_one_writer=True)

    assert alone.size < shared.size == BATCH
    assert alone.rest(0.01) >= 2 * 0.01 > 0.01 > shared.rest(0.01)
    clock = Retention(backend_config("default"))._pace.clock
    assert clock is (alone.clock if connection.vendor == "sqlite" else shared.clock)


def test_there_a_batch_that_took_long_is_followed_by_a_smaller_one():
    pace = Pace(has_one_writer=True)

    first = pace.size

    pace.rest(0.03)
    assert pace.size == first // 2
    for _ in range(9):
        pace.rest(0.03)
    assert pace.size == 50
    for _ in range(9):
        pace.rest(0.001)
    assert pace.size == BATCH


def test_a_runtime_clears_jobs_that_it_has_run():
    options = {"clear_finished_jobs_after": 0.1}
    tasks = {"default": {"BACKEND": BACKEND_PATH, "OPTIONS": options}}
    supervisor = Supervisor.from_backend_config(tasks_settings=tasks)
    supervisor.start()
    try:
        assert supervisor.wait_until_ready(15)
        noop.enqueue()
        wait_until(lambda: Job.objects.count() == 0)
    finally:
        supervisor.stop(5)
