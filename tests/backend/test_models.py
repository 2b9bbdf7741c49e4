"""The models: where a job is, asked one by one and in querysets."""

from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from dj_queue.models import (
    BlockedExecution,
    ClaimedExecution,
    Dashboard,
    FailedExecution,
    Job,
    Pause,
    Process,
    ReadyExecution,
    RecurringExecution,
    RecurringTask,
    ScheduledExecution,
    Semaphore,
    SemaphoreHolder,
)
from dj_queue.states import JobState

LIVE = {
    JobState.READY: lambda job: ReadyExecution.objects.create(job=job),
    JobState.SCHEDULED: lambda job: ScheduledExecution.objects.create(
        job=job, scheduled_at=timezone.now()
    ),
    JobState.CLAIMED: lambda job: ClaimedExecution.objects.create(job=job, token=1),
    JobState.BLOCKED: lambda job: BlockedExecution.objects.create(
        job=job, concurrency_key="key", expires_at=timezone.now()
    ),
    JobState.FAILED: lambda job: FailedExecution.objects.create(job=job),
}


def make_job(state: JobState | None = None) -> Job:
    job = Job.objects.create(
        task_path="tests.site.tasks.add",
        payload={"args": [], "kwargs": {}},
        finished_at=timezone.now() if state is JobState.FINISHED else None,
    )
    if state in LIVE:
        LIVE[state](job)
    return Job.objects.get(pk=job.pk)


@pytest.fixture
def one_of_each() -> dict[JobState, Job]:
    return {state: make_job(state) for state in JobState}


@pytest.mark.parametrize("state", list(JobState))
def test_a_job_knows_its_state(state):
    job = make_job(state)

    assert job.status is state
    assert [each for each in JobState if getattr(job, each)] == [state]


def test_a_job_that_no_table_knows_has_no_state():
    job = make_job()

    assert job.status is None
    assert not any(getattr(job, each) for each in JobState)


def test_a_job_that_ended_is_finished_whatever_else_there_is():
    job = make_job(JobState.FINISHED)
    ReadyExecution.objects.create(job=job)

    assert Job.objects.get().status is JobState.FINISHED


@pytest.mark.parametrize("state", list(JobState))
def test_a_queryset_has_the_jobs_in_one_state(one_of_each, state):
    found = getattr(Job.objects, state)()

    assert list(found) == [one_of_each[state]]


def test_a_job_in_two_states_is_told(one_of_each):
    assert not Job.objects.invalid_execution_state().exists()
    assert not any(job.has_invalid_execution_state for job in one_of_each.values())
    twice, ended = one_of_each[JobState.READY], one_of_each[JobState.FINISHED]
    FailedExecution.objects.bulk_create([FailedExecution(job=twice)])
    LIVE[JobState.SCHEDULED](ended)

    found = {job.pk: job for job in Job.objects.invalid_execution_state()}

    assert found.keys() == {twice.pk, ended.pk}
    assert found[twice.pk].live_execution_state_names == ["ready", "failed"]
    assert found[ended.pk].live_execution_state_names == ["scheduled"]
    assert found[ended.pk].execution_state_names == ["scheduled", "finished"]
    assert all(job.has_invalid_execution_state for job in found.values())


def test_querysets_can_be_chained(one_of_each):
    assert not Job.objects.ready().failed().exists()
    assert Job.objects.filter(queue_name="default").ready().count() == 1


def test_the_state_needs_no_query_when_its_rows_were_fetched_too(one_of_each, count_statements):
    jobs = Job.objects.select_related(*[f"{state}_execution" for state in LIVE])

    with count_statements() as statements:
        found = {job.pk: job.status for job in jobs}

    assert len(statements) == 1
    assert found == {job.pk: state for state, job in one_of_each.items()}


@pytest.mark.parametrize("state", list(LIVE))
def test_a_job_is_in_a_state_once(state):
    """By the database, whoever writes the row."""
    job = make_job(state)
    row = getattr(job, f"{state}_execution")
    row.pk = None

    with pytest.raises(IntegrityError), transaction.atomic():
        type(row).objects.bulk_create([row])


@pytest.mark.parametrize("state", list(LIVE))
def test_a_row_of_another_state_is_refused_by_save(state):
    first = JobState.READY if state is not JobState.READY else JobState.FAILED
    job = make_job(first)

    with pytest.raises(ValidationError, match=f"another state: {first} execution") as refused:
        LIVE[state](job)
    assert refused.value.error_dict["__all__"][0].code == "another_state"
    with pytest.raises(ValidationError):
        LIVE[first](job)
    assert Job.objects.get().status is first


def test_save_looks_at_all_values():
    job = make_job()

    with pytest.raises(ValidationError) as refused:
        ReadyExecution(job=job, queue_name="x" * 65, backend_alias="").save()
    assert refused.value.error_dict.keys() == {"queue_name", "backend_alias"}
    with pytest.raises(ValidationError) as refused:
        ReadyExecution(job_id=uuid4()).save()
    assert refused.value.error_dict.keys() == {"job"}


def test_a_row_that_is_saved_again_is_no_other(one_of_each):
    failed = FailedExecution.objects.get()
    failed.message = "as it is"
    failed.save(update_fields=["message"])

    assert FailedExecution.objects.get().message == "as it is"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"schedule": "never"}, "schedule"),
        ({"schedule": "0 3 * * *", "timezone": "Mars/Olympus"}, "schedule"),
        ({"schedule": "0 3 * * *", "key": "nightly"}, "__all__"),
        ({"schedule": "0 3 * * *", "task_path": ""}, "task_path"),
        ({"schedule": "0 3 * * *", "catch_up": "some"}, "catch_up"),
    ],
)
def test_save_of_a_recurring_task_refuses_what_cannot_be(values, field):
    given = {"key": "other", "task_path": "tests.site.tasks.add"}
    RecurringTask.objects.create(**{**given, "key": "nightly", "schedule": "@daily"})

    with pytest.raises(ValidationError) as refused:
        RecurringTask(**{**given, **values}).save()
    assert refused.value.error_dict.keys() == {field}
    assert RecurringTask.objects.count() == 1


@pytest.mark.parametrize("state", list(LIVE))
def test_a_job_that_is_deleted_takes_its_rows_with_it(state):
    job = make_job(state)

    job.delete()

    assert not any(
        model.objects.exists()
        for model in (
            ReadyExecution,
            ScheduledExecution,
            ClaimedExecution,
            BlockedExecution,
            FailedExecution,
        )
    )


@pytest.mark.parametrize("priority", [-101, 101])
def test_the_database_refuses_a_priority_out_of_range(priority):
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.create(task_path="x", payload={}, priority=priority)


def test_a_process_that_is_deleted_leaves_its_claims_and_its_children():
    parent = Process.objects.create(kind="Supervisor", name="parent", pid=1, hostname="h")
    child = Process.objects.create(kind="Worker", name="c", pid=1, hostname="h", supervisor=parent)
    claim = ClaimedExecution.objects.create(job=make_job(), token=1, process=parent)

    parent.delete()

    child.refresh_from_db()
    claim.refresh_from_db()
    assert child.supervisor is None
    assert claim.process is None


def test_a_process_name_is_unique_within_a_backend():
    Process.objects.create(kind="Worker", name="same", pid=1, hostname="h")
    Process.objects.create(kind="Worker", name="same", pid=1, hostname="h", backend_alias="other")

    with pytest.raises(IntegrityError), transaction.atomic():
        Process.objects.create(kind="Worker", name="same", pid=2, hostname="h")


def test_a_queue_is_paused_once_within_a_backend():
    Pause.objects.create(queue_name="mail")
    Pause.objects.create(queue_name="mail", backend_alias="other")

    with pytest.raises(IntegrityError), transaction.atomic():
        Pause.objects.create(queue_name="mail")


def test_an_occurrence_is_fired_once_within_a_backend():
    now = timezone.now()
    RecurringExecution.objects.create(task_key="daily", run_at=now)
    RecurringExecution.objects.create(task_key="daily", run_at=now, backend_alias="other")

    with pytest.raises(IntegrityError), transaction.atomic():
        RecurringExecution.objects.create(task_key="daily", run_at=now)


def test_the_record_of_a_firing_outlives_its_job():
    job = make_job()
    record = RecurringExecution.objects.create(task_key="daily", run_at=timezone.now(), job=job)

    job.delete()

    record.refresh_from_db()
    assert record.job is None


def test_the_dashboard_has_no_table():
    assert Dashboard._meta.managed is False
    assert Dashboard._meta.db_table not in connection.introspection.table_names()


def test_every_table_is_named_for_the_app():
    from django.apps import apps

    models = apps.get_app_config("dj_queue").get_models()

    assert all(model._meta.db_table.startswith("dj_queue_") for model in models)


def test_rows_say_what_they_are():
    job = make_job(JobState.READY)

    assert str(job) == f"tests.site.tasks.add {job.pk}"
    assert str(job.ready_execution) == f"ready {job.pk}"
    assert str(Pause(queue_name="mail")) == "mail"
    assert str(Process(name="worker-1")) == "worker-1"
    assert str(RecurringTask(key="daily")) == "daily"
    assert str(Semaphore(key="account/1")) == "account/1"
    assert str(SemaphoreHolder(key="account/1", job=job)) == f"account/1 {job.pk}"
    assert str(Dashboard()) == "dashboard"
