"""Hooks around jobs: who is called, in which order, with what, and what a hook that fails does."""

import threading

import pytest
from django.tasks import TaskResultStatus, default_task_backend

from dj_queue import events, hooks
from dj_queue.models import Job, Pause
from tests.site import hooked_tasks, poison
from tests.site.hooked_tasks import called, note

WAYS = ["enqueue_and_run", "enqueue_and_arun"]


@pytest.fixture(autouse=True)
def no_hooks_left():
    called.clear()
    yield
    hooks.clear_hooks()
    called.clear()


@pytest.fixture
def failed_hooks(heard):
    return heard(events.HookFailed)


def moments():
    """What was called, without its details."""
    return [entry if isinstance(entry, str) else entry[0] for entry in called]


TASKS = [
    hooked_tasks.add,
    hooked_tasks.add_async,
    hooked_tasks.add_async_with_plain_hooks,
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_hooks_of_a_task_are_called_around_it(trial, task, way):
    result = getattr(trial, way)(task, 1, 2)

    assert result.return_value == 3
    assert moments() == ["enqueued", "before", "add runs", "after"]
    assert [entry[1] for entry in called if not isinstance(entry, str)] == [
        "READY",
        "RUNNING",
        "SUCCESSFUL",
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_failure_hook_comes_first_and_gets_the_exception(trial, task, way):
    result = getattr(trial, way)(task, 1, "x")

    assert result.status == TaskResultStatus.FAILED
    assert moments() == ["enqueued", "before", "add runs", "failed", "after"]
    assert isinstance(called[3][2], TypeError)
    assert called[3][1] == called[4][1] == "FAILED"


def test_plain_hooks_of_an_async_job_do_not_run_on_the_loop(trial):
    result = trial.enqueue_and_arun(hooked_tasks.add_async_with_plain_hooks, 1, 2)

    assert result.return_value == 3
    threads = {entry[3] for entry in called if entry[0] in ("before", "after")}
    assert len(threads) == 1
    assert not threads & {"trial_0", threading.current_thread().name}


def test_hooks_for_every_task_come_before_those_of_one(trial):
    hooks.before_job(note("every before"))
    hooks.register_hook("job.after", note("every after"))
    hooks.on_job_enqueued(note("every enqueued"))

    trial.enqueue_and_run(hooked_tasks.add, 1, 2)
    trial.enqueue_and_run(hooked_tasks.plain)

    assert moments() == [
        *("every enqueued", "enqueued", "every before", "before", "add runs"),
        *("every after", "after"),
        *("every enqueued", "every before", "every after"),
    ]


def test_hooks_of_one_event_are_forgotten_alone(trial):
    hooks.before_job(note("every before"))
    hooks.after_job(note("every after"))
    hooks.clear_hooks("job.before")

    trial.enqueue_and_run(hooked_tasks.plain)

    assert moments() == ["every after"]


def test_decorators_add_up_from_the_function_upwards(trial):
    trial.enqueue_and_run(hooked_tasks.stacked)

    assert moments() == ["lower", "upper"]


@pytest.mark.parametrize("way", WAYS)
def test_a_hook_before_that_raises_fails_the_job_which_does_not_run(trial, way):
    result = getattr(trial, way)(hooked_tasks.refused)

    assert result.status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class is PermissionError
    assert moments() == ["failed", "after"]


@pytest.mark.parametrize("way", WAYS)
def test_other_hooks_that_raise_are_reported_and_change_nothing(trial, failed_hooks, way):
    good = getattr(trial, way)(hooked_tasks.hooks_that_leave, 1)
    bad = getattr(trial, way)(hooked_tasks.hooks_that_leave, None)

    assert good.return_value == 1
    assert bad.errors[0].exception_class is ValueError
    assert [event.hook for event in failed_hooks] == [
        *("job.enqueued", "job.after"),
        *("job.enqueued", "job.failed", "job.after"),
    ]
    assert all(isinstance(event.error, SystemExit) for event in failed_hooks)


def test_a_job_whose_task_is_gone_is_told_to_the_hooks_of_every_task(trial):
    hooks.before_job(note("before"))
    hooks.on_job_failed(note("failed"))
    hooks.after_job(note("after"))
    result = hooked_tasks.plain.enqueue()
    Job.objects.update(task_path="tests.site.hooked_tasks.gone")

    trial.worker.write(trial.run(trial.worker.claim_one()))

    assert moments() == ["failed", "after"]
    assert "cannot be imported" in str(called[0][2])
    assert Job.objects.get(id=result.id).failed


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_that_a_hook_leaves_in_a_transaction_is_clean_for_the_next_job(trial, way):
    @hooks.after_job
    def leave_open(result):
        poison.transaction.set_autocommit(False)
        Pause.objects.create(queue_name="left")

    getattr(trial, way)(hooked_tasks.plain)
    hooks.clear_hooks()

    assert getattr(trial, way)(hooked_tasks.add, 1, 2).return_value == 3
    assert not Pause.objects.exists()


def test_each_job_of_a_bulk_is_told_once_it_is_written(trial):
    seen = []
    hooks.on_job_enqueued(lambda result: seen.append(Job.objects.filter(id=result.id).exists()))

    default_task_backend.enqueue_all([(hooked_tasks.plain, [], {})] * 3)

    assert seen == [True] * 3


def test_nobody_is_told_of_what_was_not_written(use_tasks):
    hooks.on_job_enqueued(note("enqueued"))

    with pytest.raises(TypeError):
        hooked_tasks.plain.enqueue(object())

    assert called == []


def test_what_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="job_hooks: before must be a function, not 'later'"):
        hooks.job_hooks(before="later")
