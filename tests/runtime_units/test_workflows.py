"""Workflows: steps that run one after the other, each once, with a workspace that they share."""

from datetime import timedelta
from decimal import Decimal

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction
from django.tasks import TaskResultStatus
from django.utils import timezone

from dj_queue import hooks
from dj_queue.api import aenqueue_steps, current_workspace, enqueue_steps, step
from dj_queue.config import backend_config
from dj_queue.exceptions import EnqueueError, PayloadError, WorkflowError
from dj_queue.models import ClaimedExecution, FailedExecution, Job, Workflow
from dj_queue.operations.workflows import clear_finished_workflows
from dj_queue.runtime.retention import Retention
from dj_queue.states import WorkflowState
from tests.site import hooked_tasks, step_tasks, tasks
from tests.site.step_tasks import count, count_async, fail_unless


@pytest.fixture(autouse=True)
def nothing_called():
    step_tasks.called.clear()
    yield
    step_tasks.called.clear()


def run_next(trial, run=None):
    """Claim the one job that is ready, run it and write its outcome; its row."""
    job = trial.worker.claim_one()
    trial.worker.write((run or trial.run)(job))
    return Job.objects.get(id=job.id)


def job_of(workflow, position):
    workflow.refresh_from_db()
    return Job.objects.get(id=workflow.job_ids[position])


@pytest.mark.parametrize("way", ["run", "arun"])
def test_steps_run_in_order_and_share_the_workspace(trial, way):
    workflow = enqueue_steps(
        [count, step(count_async, by=10), step(count, 100)], workspace={"count": 1, "kept": [None]}
    )
    assert workflow.state is WorkflowState.RUNNING

    for position in range(3):
        assert Job.objects.count() == position + 1
        run_next(trial, getattr(trial, way))

    workflow.refresh_from_db()
    assert workflow.state is WorkflowState.FINISHED
    assert workflow.workspace == {"count": 112, "kept": [None]}
    assert workflow.position == 3
    assert workflow.created_at <= workflow.finished_at
    assert not trial.worker.claim()
    assert [job_of(workflow, n).return_value for n in range(3)] == [2, None, 112]
    assert Workflow.objects.filter(workspace__count=112).exists()


def test_nothing_of_the_next_step_is_seen_before_the_last_has_ended(trial):
    workflow = enqueue_steps([count, count])
    job = trial.worker.claim_one()

    assert not trial.worker.claim()
    assert len(workflow.job_ids) == 1

    trial.worker.write(trial.run(job))
    assert Job.objects.count() == 2


def test_each_step_keeps_its_queue_priority_arguments_and_delay(trial):
    enqueue_steps(
        [
            count,
            step(step_tasks.name.using(queue_name="mail", priority=7), 1, "x"),
            count.using(run_after=timedelta(hours=1)),
        ]
    )

    run_next(trial)
    second = run_next(trial)
    third = Job.objects.exclude(scheduled_at=None).get()

    assert (second.queue_name, second.priority) == ("mail", 7)
    assert Workflow.objects.get().workspace["name"] == ["1", "'x'"]
    assert third.scheduled
    assert third.scheduled_at > timezone.now() + timedelta(minutes=59)


def test_a_step_that_fails_stops_the_rest_and_a_retry_goes_on(trial, make_ready_again):
    workflow = enqueue_steps([count, step(fail_unless, "found"), count])
    run_next(trial)
    run_next(trial)
    assert not trial.worker.claim()
    workflow.refresh_from_db()
    assert workflow.state is WorkflowState.FAILED
    assert workflow.workspace == {"count": 1}

    Workflow.objects.update(workspace={"count": 1, "found": True})
    make_ready_again(workflow.job.id)
    run_next(trial)
    run_next(trial)

    workflow.refresh_from_db()
    assert workflow.state is WorkflowState.FINISHED
    assert workflow.workspace == {"count": 2, "found": True, "touched": True}


@pytest.mark.parametrize("way", ["run", "arun"])
def test_a_step_whose_end_was_kept_but_not_its_outcome_is_not_run_twice(
    trial, make_ready_again, way
):
    workflow = enqueue_steps([count, count])
    job = trial.worker.claim_one()
    getattr(trial, way)(job)  # The process dies here: the outcome is never written.
    assert Job.objects.count() == 2

    ClaimedExecution.objects.all().delete()
    FailedExecution.objects.create(job_id=job.id)
    second = trial.worker.claim_one()
    make_ready_again(job.id)
    again = run_next(trial, getattr(trial, way))

    assert again.id == job.id
    assert again.finished
    assert step_tasks.called == ["count"]
    assert Job.objects.count() == 2
    trial.worker.write(trial.run(second))
    workflow.refresh_from_db()
    assert (workflow.state, workflow.workspace) == (WorkflowState.FINISHED, {"count": 2})


@pytest.mark.parametrize("way", ["run", "arun"])
def test_who_has_lost_the_claim_cannot_hand_over(trial, way):
    workflow = enqueue_steps([count, count])
    job = trial.worker.claim_one()
    ClaimedExecution.objects.update(token=job.token + 1)

    outcome = getattr(trial, way)(job)

    assert outcome.error.exception_class == "dj_queue.exceptions.WorkflowError"
    assert "its job was taken away" in outcome.error.message
    workflow.refresh_from_db()
    assert (workflow.position, workflow.workspace) == (0, {})
    assert Job.objects.count() == 1


def test_of_two_that_run_the_same_step_one_hands_over(trial):
    enqueue_steps([step(fail_unless, "x"), count], workspace={"x": 1})
    job = trial.worker.claim_one()

    first, second = trial.run(job), trial.run(job)

    assert (first.error, second.error) == (None, None)
    assert Job.objects.count() == 2


def test_a_copy_of_a_step_that_is_over_fails(trial):
    workflow = enqueue_steps([count])
    job = run_next(trial)
    copy = tasks.noop.enqueue()
    Job.objects.filter(id=copy.id).update(task_path=job.task_path, payload=job.payload)

    assert run_next(trial).failed
    copy.refresh()
    assert "WorkflowError: This job is a copy of step 0" in copy.errors[0].traceback
    workflow.refresh_from_db()
    assert workflow.workspace == {"count": 1}


def test_a_step_of_a_workflow_that_is_gone_fails(trial):
    enqueue_steps([count])
    Workflow.objects.all().delete()

    job = run_next(trial)

    assert "does not exist any more" in job.errors[0]["message"]


def test_a_workflow_whose_job_was_deleted_has_stopped(trial):
    workflow = enqueue_steps([count])
    Job.objects.all().delete()

    assert workflow.state is WorkflowState.STOPPED


def test_a_workspace_that_cannot_be_stored_fails_the_step(trial):
    workflow = enqueue_steps([step_tasks.spoil, count])

    job = run_next(trial)

    assert "workspace['no json'] is of type builtins.object" in job.errors[0]["message"]
    assert workflow.state is WorkflowState.FAILED
    assert Job.objects.count() == 1


def test_a_next_step_that_cannot_be_imported_fails_the_one_before(trial):
    workflow = enqueue_steps([count, count])
    workflow.steps[1]["task_path"] = "tests.site.step_tasks.gone"
    workflow.save()

    job = run_next(trial)

    assert job.failed
    assert "tests.site.step_tasks.gone cannot be imported" in job.errors[0]["message"]


def test_workflows_that_have_ended_are_kept_for_as_long_as_their_jobs(trial, use_tasks):
    old, recent, running = (enqueue_steps([count]) for _ in range(3))
    now = timezone.now()
    Workflow.objects.filter(pk=old.pk).update(finished_at=now - timedelta(hours=2))
    Workflow.objects.filter(pk=recent.pk).update(finished_at=now - timedelta(minutes=50))
    use_tasks(
        default={"clear_finished_jobs_after": 3600}, keeping={"clear_finished_jobs_after": None}
    )

    assert clear_finished_workflows(backend_alias="keeping") == 0
    Retention(backend_config("default")).work()
    assert set(Workflow.objects.all()) == {recent, running}

    assert clear_finished_workflows(older_than=60) == 1
    assert set(Workflow.objects.all()) == {running}


def test_rich_arguments_reach_later_steps(trial, use_tasks):
    use_tasks(default={"rich_arguments": True})
    enqueue_steps([count, step(step_tasks.name, Decimal("1.5"))])

    run_next(trial)
    run_next(trial)

    assert Workflow.objects.get().workspace["name"] == ["Decimal('1.5')"]


def test_a_workflow_is_written_in_the_callers_transaction():
    with transaction.atomic():
        enqueue_steps([count])
        transaction.set_rollback(True)

    assert not Workflow.objects.exists()
    assert not Job.objects.exists()


def test_signals_and_hooks_hear_of_each_step(trial):
    heard = []
    hooks.on_job_enqueued(lambda result: heard.append(result.id))
    try:
        workflow = enqueue_steps([count, count])
        run_next(trial)
    finally:
        hooks.clear_hooks()

    workflow.refresh_from_db()
    assert heard == workflow.job_ids


def test_it_can_be_enqueued_from_async_code(trial):
    if connection.vendor == "sqlite":
        connection.close()  # Another thread writes.
    workflow = async_to_sync(aenqueue_steps)([count], workspace={"count": 1})

    run_next(trial)

    workflow.refresh_from_db()
    assert workflow.workspace == {"count": 2}


def test_there_is_no_workspace_outside_of_a_step(trial):
    with pytest.raises(WorkflowError, match="only while a step"):
        current_workspace()

    result = trial.enqueue_and_run(count)

    assert result.status == TaskResultStatus.FAILED
    assert "WorkflowError: There is a workspace only while" in result.errors[0].traceback


def test_the_workspace_of_a_step_is_not_left_behind_in_its_thread(trial):
    enqueue_steps([count])
    run_next(trial)

    assert trial.enqueue_and_run(count).status == TaskResultStatus.FAILED


@pytest.mark.parametrize(
    ("steps", "workspace", "error", "told"),
    [
        ([], None, EnqueueError, "at least one step"),
        ([len], None, EnqueueError, "must be a task, or made with Step"),
        ([hooked_tasks.plain, step(count, object())], None, PayloadError, r"args\[0\] is of type"),
        ([count], {"a": {1, 2}}, PayloadError, r"workspace\['a'\] is of type builtins.set"),
        ([count], {"a": "x" * 2**20}, PayloadError, r"1048584 bytes as JSON; .* allows 1048576"),
        ([count], ["x"], EnqueueError, "workspace must be a mapping"),
    ],
    ids=["none", "no task", "argument", "workspace", "size", "list"],
)
def test_what_cannot_be_stored_is_refused_and_nothing_is_written(steps, workspace, error, told):
    with pytest.raises(error, match=told):
        enqueue_steps(steps, workspace=workspace)

    assert not Workflow.objects.exists()
    assert not Job.objects.exists()


def test_steps_of_different_backends_are_refused(use_tasks):
    use_tasks(default={}, other={})

    with pytest.raises(EnqueueError, match=r"tasks of one backend .* not of 'default', 'other'"):
        enqueue_steps([count, count.using(backend="other")])
