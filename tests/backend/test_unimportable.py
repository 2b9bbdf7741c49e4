"""Jobs whose task is gone: their history stays readable."""

import sys
from types import ModuleType

import pytest
from asgiref.sync import async_to_sync
from django.tasks import TaskResultStatus, default_task_backend
from django.tasks.exceptions import TaskResultMismatch

from dj_queue.exceptions import TaskNotImportable
from dj_queue.models import Job
from dj_queue.reads.tasks import import_task
from tests.site import catalogue
from tests.site.tasks import add

GONE = [
    "tests.site.catalogue.taken_away",
    "tests.no_such_module.task",
    "tests.site.catalogue.not_a_task",
    "tests.site.fails_at_import.task",
    "tests.site.exits_at_import.task",
    "nodots",
    "",
    ".",
    "tests..catalogue.echo",
    "tests.site.catalogue.echo.func.<locals>.inner",
    "東.京",
]


@pytest.fixture(params=GONE, ids=ascii)
def gone(request):
    """A job whose path leads nowhere; its result before that, and the path."""
    result = catalogue.echo.using(queue_name="mail", priority=4).enqueue(1, x=2)
    Job.objects.update(task_path=request.param)
    return result, request.param


def test_the_result_of_a_task_that_is_gone_is_read(gone):
    result, path = gone

    again = default_task_backend.get_result(result.id)

    assert again.id == result.id
    assert again.status == TaskResultStatus.READY
    assert (again.args, again.kwargs) == ([1], {"x": 2})
    assert (again.task.queue_name, again.task.priority) == ("mail", 4)
    assert again.task.backend == "default"
    if path.strip("."):
        assert again.task.module_path == path or path.rpartition(".")[0] == ""
        assert again.task.name == path.rpartition(".")[2]


def test_a_result_is_refreshed_after_its_task_has_gone(gone, worker):
    result, _ = gone
    worker.fail(worker.claim_one(), "gone")

    result.refresh()

    assert result.status == TaskResultStatus.FAILED


def test_the_stand_in_says_what_is_wrong_when_it_is_called(gone):
    result, path = gone
    task = default_task_backend.get_result(result.id).task

    with pytest.raises(ImportError) as caught:
        task.call(1, x=2)
    with pytest.raises(ImportError):
        async_to_sync(task.acall)(1, x=2)

    assert isinstance(caught.value, TaskNotImportable)
    assert str(caught.value).startswith(path)


def test_a_task_that_is_gone_matches_no_other():
    result = add.enqueue(1, 2)
    Job.objects.update(task_path="tests.site.catalogue.taken_away")

    with pytest.raises(TaskResultMismatch, match="taken_away"):
        add.get_result(result.id)


def test_a_function_without_its_decorator_is_told_from_one_that_is_not_there():
    with pytest.raises(TaskNotImportable, match="is of type function, not a task; was its @task"):
        import_task("tests.site.catalogue.not_a_task")
    with pytest.raises(TaskNotImportable, match="cannot be imported"):
        import_task("tests.site.catalogue.taken_away")


def test_the_reason_of_a_module_that_fails_is_kept():
    with pytest.raises(TaskNotImportable, match="this module does not work here") as caught:
        import_task("tests.site.fails_at_import.task")

    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_module_that_exits_ends_nobody():
    with pytest.raises(
        TaskNotImportable, match=r"^tests\.site\.exits_at_import\.task cannot be imported"
    ):
        import_task("tests.site.exits_at_import.task")


def test_an_interrupt_while_a_module_is_imported_is_not_swallowed(monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("dj_queue.reads.tasks.import_string", interrupted)

    with pytest.raises(KeyboardInterrupt):
        import_task("tests.site.tasks.interrupted")


def test_a_failure_is_not_remembered(monkeypatch):
    with pytest.raises(TaskNotImportable):
        import_task("tests.site.arrives_late.task")

    late = ModuleType("tests.site.arrives_late")
    late.task = catalogue.echo
    monkeypatch.setitem(sys.modules, "tests.site.arrives_late", late)

    assert import_task("tests.site.arrives_late.task") is catalogue.echo
    import_task.cache_clear()
