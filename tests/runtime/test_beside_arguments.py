"""What goes with a call, with real workers: rich arguments, hooks and steps, in children that may die."""

import os

import pytest

from dj_queue.api import enqueue_steps, step
from dj_queue.config import BACKEND_PATH
from dj_queue.models import Job, Pause, Workflow
from dj_queue.states import WorkflowState
from tests.contrib.servers import environment
from tests.site import hooked_tasks, rich_tasks, step_tasks
from tests.waiting import wait_until

OPTIONS = {"rich_arguments": True}


@pytest.fixture(autouse=True)
def rich_everywhere(monkeypatch, settings):
    """Children read settings of their own, which must lead them to this run's database."""
    settings.TASKS = {"default": {"BACKEND": BACKEND_PATH, "OPTIONS": OPTIONS}}
    for name, value in environment(**OPTIONS).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_rich_values_hooks_and_steps_work_in_every_kind_of_worker(make_runtime, executor, finished):
    make_runtime(workers=[{"executor": executor, "threads": 1}], **OPTIONS)
    pause = Pause.objects.create(queue_name="mail")
    given = [rich_tasks.Colour.RED, pause, *rich_tasks.VALUES]

    here, there, hooked = finished(
        rich_tasks.give_back.enqueue(given),
        rich_tasks.queue_of_async.enqueue(pause),
        hooked_tasks.seen_in_the_database.enqueue(),
        seconds=30,
    )
    workflow = enqueue_steps([step(step_tasks.count, 5), step_tasks.finish], workspace={"count": 1})
    wait_until(lambda: workflow.refresh_from_db() or workflow.finished_at, seconds=30)

    assert here.args == [given]
    assert here.return_value == given
    assert there.return_value == "mail"
    assert hooked.errors == []
    assert set(Pause.objects.values_list("queue_name", flat=True)) == {
        "mail",
        "seen_in_the_database RUNNING",
        "seen_in_the_database SUCCESSFUL",
    }
    assert workflow.workspace["count"] == 6
    assert (workflow.workspace["pid"] == os.getpid()) is (executor == "thread")


def test_a_workflow_survives_the_death_of_its_process_anywhere(make_runtime, tmp_path):
    make_runtime(workers=[{"executor": "process", "threads": 1}], **OPTIONS)

    workflow = enqueue_steps(
        [
            step(step_tasks.die_inside, str(tmp_path / "inside")),
            step(step_tasks.die_at_the_end, path=str(tmp_path / "end")),
            step_tasks.finish,
        ]
    )
    wait_until(lambda: Workflow.objects.get().state is WorkflowState.FINISHED, seconds=60)

    workflow.refresh_from_db()
    assert workflow.workspace.keys() == {"lost", "inside", "at the end", "pid"}
    # Its end was kept when the process died: the second attempt has not called the task.
    assert workflow.workspace["at the end"] == 1
    wait_until(lambda: Job.objects.finished().count() == 3)
    jobs = Job.objects.in_bulk(workflow.job_ids)
    assert Job.objects.count() == len(jobs) == 3
    assert [len(jobs[key].errors or ()) for key in sorted(jobs)] == [1, 1, 0]
