"""Recurring tasks that code declares, beside those of the settings, and the tasks that both name.

A decorator notes its entry when the module is imported, and nothing else: no task is looked up, no backend
asked. That is done by who is about to write the entries down, for each by itself.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from django.apps import apps
from django.tasks import Task
from django.utils.module_loading import import_string

from dj_queue.config import BackendConfig, RecurringTaskConfig
from dj_queue.config.recurring import read_entry
from dj_queue.exceptions import (
    ConfigurationError,
    InvalidRecurringTask,
    TaskNotImportable,
)
from dj_queue.typing import AnyTask


class Declaration(NamedTuple):
    """What one use of the decorator has noted."""

    entry: RecurringTaskConfig
    backend_alias: str | None
    """None for the task's own."""
    function: Any


class Rejected(NamedTuple):
    """An entry that cannot be used."""

    key: str
    error: Exception


_declarations: dict[tuple[str | None, str], Declaration] = {}


def recurring[T](
    schedule: str,
    *,
    key: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    queue_name: str | None = None,
    priority: int | None = None,
    description: str = "",
    timezone: str | None = None,
    catch_up: str = "latest",
    enabled: bool = True,
    backend_alias: str | None = None,
) -> Callable[[T], T]:
    """Have this task's jobs enqueued by *schedule*, above or below `@task`; may stand there several times.

    *key* is what the entry is called, by default the task's path; several of one task need keys. Queue,
    priority and backend are the task's own unless they are given. *timezone* is the zone of the schedule,
    by default `TIME_ZONE`; *catch_up* says what is made up after a time in which nobody fired: `"skip"`,
    `"latest"` or `"all"`. The `tasks` modules of installed apps are imported when a scheduler starts;
    what stands elsewhere has to be imported by something.

    Raises `InvalidRecurringTask` for values of a wrong type, and for a key that is there already.
    """
    given = {
        "schedule": schedule, "args": args, "kwargs": kwargs or {}, "queue_name": queue_name,
        "priority": priority, "description": description, "timezone": timezone,
        "catch_up": catch_up, "enabled": enabled,
    }  # fmt: skip

    def decorate(task_or_function: T) -> T:
        function: Any = getattr(task_or_function, "func", task_or_function)
        path = f"{function.__module__}.{function.__qualname__}"
        try:
            entry = read_entry(key or path, {**given, "task_path": path}, "@recurring")
        except ConfigurationError as error:
            raise InvalidRecurringTask(f"{path}: {error}") from None
        _note(Declaration(entry, backend_alias, function))
        return task_or_function

    return decorate


def _note(new: Declaration) -> None:
    place = (new.backend_alias, new.entry.key)
    known = _declarations.get(place)
    # A module that is imported again brings a new function of the same name.
    if known is not None and (
        known.function is new.function or known.entry.task_path != new.entry.task_path
    ):
        raise InvalidRecurringTask(
            f"{new.entry.task_path}: the key {new.entry.key!r} of @recurring is taken by "
            f"{known.entry.task_path} with the schedule {known.entry.schedule!r}; name another one with key="
        )
    _declarations[place] = new


def import_tasks() -> Iterator[Rejected]:
    """Import the module `tasks` of each installed app; those that could not be, with the error."""
    for app in apps.get_app_configs():
        name = f"{app.name}.tasks"
        if name in sys.modules:
            continue
        try:
            if find_spec(name) is not None:
                import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may fail in any way, or exit
            yield Rejected("", TaskNotImportable(f"{name} cannot be imported: {error}"))


def entries_of(config: BackendConfig) -> tuple[list[RecurringTaskConfig], list[Rejected]]:
    """The entries of *config*'s backend, of settings and decorators, and those that cannot be used.

    Settings win over a decorator with the same key. Queue and priority are filled in.
    """
    entries = {entry.key: entry for entry in config.options.recurring}
    rejected = []
    for declaration in list(_declarations.values()):
        try:
            entry = _of_backend(declaration, config.alias)
        except Exception as error:  # noqa: BLE001 - of this entry only
            rejected.append(Rejected(declaration.entry.key, error))
            continue
        if entry is not None:
            entries.setdefault(entry.key, entry)
    return list(entries.values()), rejected


def _of_backend(declaration: Declaration, alias: str) -> RecurringTaskConfig | None:
    entry = declaration.entry
    if declaration.backend_alias not in (None, alias):
        return None
    task = task_at(entry.task_path)
    if (declaration.backend_alias or task.backend) != alias:
        return None
    return replace(
        entry,
        queue_name=task.queue_name if entry.queue_name is None else entry.queue_name,
        priority=task.priority if entry.priority is None else entry.priority,
    )


def task_at(path: str) -> AnyTask:
    """The task at *path*; raises `TaskNotImportable`, which says whether there is something else."""
    try:
        found = import_string(path)
    except (Exception, SystemExit) as error:
        raise TaskNotImportable(f"{path} cannot be imported: {error}") from error
    if not isinstance(found, Task):
        raise TaskNotImportable(
            f"{path} is of type {type(found).__qualname__}, not a task; was its @task taken away?"
        )
    return found
