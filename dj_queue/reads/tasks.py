"""From the path stored with a job to its task, and back to the task as it was enqueued."""

import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any, NoReturn

from django.tasks.base import Task
from django.utils.module_loading import import_string

from dj_queue.exceptions import TaskNotImportable
from dj_queue.typing import AnyTask


@cache
def import_task(task_path: str) -> AnyTask:
    """The task at *task_path*; raises `TaskNotImportable` (which is not remembered)."""
    try:
        found = import_string(task_path)
    except (Exception, SystemExit) as error:
        # Any error: importing runs the module, and a module may fail in any way, or exit.
        raise TaskNotImportable(f"{task_path} cannot be imported: {error}") from error
    if not isinstance(found, Task):
        raise TaskNotImportable(
            f"{task_path} is of type {type(found).__qualname__}, not a task; was its @task taken away?"
        )
    return found


def module_of(task_path: str) -> str:
    """The module of the task at *task_path*."""
    return task_path.rpartition(".")[0]


def is_imported(task_path: str) -> bool:
    """Whether the module of the task has been imported, or is being so."""
    return module_of(task_path) in sys.modules


def task_or_stand_in(task_path: str) -> AnyTask:
    """The task at *task_path*, or one that says in its place that it cannot be imported.

    For reading results: a job's history must stay readable after its task is gone.
    """
    try:
        return import_task(task_path)
    except TaskNotImportable as error:
        return stand_in(task_path, str(error))


def on_worker_lost(task_path: str) -> str | None:
    """What the task says should become of its jobs when their process is lost; None if it says nothing."""
    try:
        task = import_task(task_path)
    except TaskNotImportable:
        return None
    policy: str | None = getattr(task.func, "on_worker_lost", None)
    return policy


def as_enqueued(
    task: AnyTask,
    *,
    priority: int,
    queue_name: str,
    run_after: datetime | None,
    backend: str,
) -> AnyTask:
    """*task* with the values it was enqueued with.

    Like `task.using(...)`, without validating: what was allowed at that time need not be any more, and
    a result must come back all the same.
    """
    given = {
        "priority": priority,
        "queue_name": queue_name,
        "run_after": run_after,
        "backend": backend,
    }
    copy = object.__new__(type(task))
    for name in _field_names(type(task)):  # type: ignore[arg-type]
        object.__setattr__(copy, name, given[name] if name in given else getattr(task, name))
    return copy


@cache
def _field_names(task_type: type[AnyTask]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(task_type))


def stand_in(task_path: str, reason: str) -> AnyTask:
    """A task in the place of the one at *task_path*; it says *reason* when it is called."""

    def missing(*_args: object, **_kwargs: object) -> NoReturn:
        raise TaskNotImportable(reason)

    module, _, name = task_path.rpartition(".")
    missing.__module__, missing.__qualname__, missing.__name__ = module, name, name
    return unvalidated_task(missing)


def unvalidated_task(function: Callable[..., Any]) -> AnyTask:
    """A task of *function* with default values, of which no backend was asked whether it would take it."""
    task: AnyTask = object.__new__(Task)
    for each in fields(Task):
        object.__setattr__(task, each.name, function if each.name == "func" else each.default)
    return task
