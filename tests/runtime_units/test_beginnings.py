"""When a job is noted as begun: right before the first of its project's code runs, and no sooner."""

import asyncio
import logging
import math
import sys
import textwrap
import time
from contextlib import contextmanager

import pytest
from django.tasks.signals import task_started

from dj_queue import arguments, hooks
from dj_queue.config import backend_config
from dj_queue.models import Job
from dj_queue.runtime.executor import TaskRunner
from tests.site.beginning_tasks import begin, begin_async, said, say

WAYS = ["run", "arun"]
TASKS = [begin, begin_async]

everywhere = pytest.mark.parametrize("way", WAYS)
of_each_kind = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


@pytest.fixture(autouse=True)
def nothing_said():
    said.clear()
    yield
    hooks.clear_hooks()
    said.clear()


@pytest.fixture
def run(trial):
    """Runs the one ready job, in a thread or on an event loop, with a note that is heard."""
    runner = TaskRunner(
        backend_config("default"),
        trial.worker.name,
        trial.worker.clock,
        noting=lambda _: lambda: say("noted"),
        importing=importing,
    )

    def run_it(way, *, start_by=math.inf):
        job = trial.worker.claim_one()
        job.start_by = start_by
        if way == "run":
            return trial.in_thread(runner.run, job)
        return trial.in_thread(lambda: asyncio.run(runner.arun(job)))

    return run_it


@pytest.fixture
def log_lines():
    """Django's own log lines are said too: a handler that writes gives other threads their turn."""

    class Handler(logging.Handler):
        def emit(self, record):
            say("log")

    logger, handler = logging.getLogger("django.tasks"), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield
    logger.removeHandler(handler)
    logger.setLevel(level)


@contextmanager
def importing(_):
    say("importing")
    yield
    say("imported")


def words():
    return [word for word, _ in said]


@everywhere
@of_each_kind
def test_it_is_the_last_before_the_task_and_in_its_thread(run, log_lines, task, way):
    task.enqueue()

    run(way)

    assert words() == ["log", "noted", "task", "log"]
    # In another thread, or on a loop that is to be made, something would have to be waited for.
    assert said[1][1] == said[2][1]


@everywhere
@of_each_kind
def test_a_receiver_of_the_project_is_part_of_the_job(run, receive, task, way):
    receive(task_started, lambda **_: say("receiver"))
    task.enqueue()

    run(way)

    assert words() == ["noted", "receiver", "task"]


@everywhere
@of_each_kind
def test_so_is_a_hook_that_comes_before_the_task(run, task, way):
    hooks.before_job(lambda _: say("before"))
    task.enqueue()

    run(way)

    assert words() == ["noted", "before", "task"]


@everywhere
def test_and_a_hook_that_hears_of_a_failure_without_a_start(run, way):
    hooks.on_job_failed(lambda *_: say("failed"))
    begin.enqueue()
    Job.objects.update(task_path="tests.site.beginning_tasks.gone")

    run(way)

    assert words() == ["noted", "failed"]


@everywhere
def test_a_failure_that_nothing_of_the_project_hears_of_is_no_beginning(run, way):
    begin.enqueue()
    Job.objects.update(task_path="tests.site.beginning_tasks.gone")

    outcome = run(way)

    assert outcome.error is not None
    assert words() == []


@everywhere
def test_a_module_that_is_imported_for_the_job_may_end_the_process_and_so_has_a_note_of_its_own(
    run, way, tmp_path, monkeypatch
):
    name = f"imported_late_{way}"
    (tmp_path / f"{name}.py").write_text(
        textwrap.dedent("""
            from django.tasks import task
            from tests.site.beginning_tasks import say
            say("import")

            @task
            def begin():
                say("task")
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    begin.enqueue()
    Job.objects.update(task_path=f"{name}.begin")

    run(way)

    assert words() == ["importing", "import", "imported", "noted", "task"]
    del sys.modules[name]


@everywhere
def test_making_models_and_enums_of_arguments_is_part_of_it_too(run, way, monkeypatch):
    restored = arguments.restored

    def said_and_restored(stored):
        say("restored")
        return restored(stored)

    monkeypatch.setattr(arguments, "restored", said_and_restored)
    begin.enqueue()
    Job.objects.update(payload={"args": [], "kwargs": {}, arguments.RICH: 1})

    run(way)

    assert words() == ["noted", "restored", "task"]


@everywhere
@of_each_kind
def test_a_job_that_was_noted_too_late_does_not_begin(run, way, task):
    """The process was stopped before the note, so others may have run the job; after it they cannot."""
    task.enqueue()

    outcome = run(way, start_by=time.monotonic())

    assert not outcome.has_begun
    assert words() == ["noted"]


@everywhere
def test_nobody_hears_of_a_job_that_does_not_begin(run, way):
    begin.enqueue()

    def hear(**_):
        say("receiver")

    task_started.connect(hear)
    try:
        outcome = run(way, start_by=time.monotonic())
    finally:
        task_started.disconnect(hear)

    assert not outcome.has_begun
    assert "receiver" not in words()


@everywhere
def test_a_job_that_is_in_time_begins(run, way):
    begin.enqueue()

    assert run(way, start_by=time.monotonic() + 60).has_begun
