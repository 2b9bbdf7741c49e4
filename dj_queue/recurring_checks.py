"""System checks of recurring tasks, of settings and of decorators, each entry by itself.

Here tasks are imported, which reading the settings does not do.
"""

from collections.abc import Iterator

from django.core import checks
from django.tasks.exceptions import InvalidTask

from dj_queue.config import BackendConfig, RecurringTaskConfig
from dj_queue.exceptions import InvalidSchedule, PayloadError, TaskNotImportable
from dj_queue.operations.declared import Rejected, entries_of, task_at
from dj_queue.operations.enqueue import storable_payload
from dj_queue.schedule import parse


def check_recurring(config: BackendConfig) -> Iterator[checks.CheckMessage]:
    """What is wrong with the recurring tasks of a backend; of decorators those that are imported by now."""
    entries, rejected = entries_of(config)
    yield from (_of_rejected(config, each) for each in rejected)
    for entry in entries:
        yield from _of_entry(config, entry)


def _of_rejected(config: BackendConfig, rejected: Rejected) -> checks.CheckMessage:
    where = f"@recurring {rejected.key!r} of backend {config.alias!r}"
    return checks.Error(f"{where}: {rejected.error}", id=_id_of(rejected.error))


def _of_entry(config: BackendConfig, entry: RecurringTaskConfig) -> Iterator[checks.CheckMessage]:
    where = f"TASKS[{config.alias!r}]['OPTIONS']['recurring'][{entry.key!r}]"
    if entry not in config.options.recurring:
        where = f"@recurring {entry.key!r} of backend {config.alias!r}"
    for look in (_look_at_task, _look_at_schedule, _look_at_arguments):
        try:
            look(config, entry)
        except Exception as error:  # noqa: BLE001 - a module that is imported may fail in any way
            yield checks.Error(f"{where}: {error}", id=_id_of(error))


def _look_at_task(config: BackendConfig, entry: RecurringTaskConfig) -> None:
    task_at(entry.task_path).using(
        queue_name=entry.queue_name, priority=entry.priority, backend=config.alias
    )


def _look_at_schedule(_config: BackendConfig, entry: RecurringTaskConfig) -> None:
    parse(entry.schedule, entry.timezone)


def _look_at_arguments(config: BackendConfig, entry: RecurringTaskConfig) -> None:
    storable_payload(config, entry.args, dict(entry.kwargs))


def _id_of(error: Exception) -> str:
    match error:
        case TaskNotImportable():
            # Without a cause it was imported, and is something else.
            return "dj_queue.E011" if error.__cause__ is None else "dj_queue.E010"
        case InvalidSchedule():
            return "dj_queue.E012"
        case PayloadError():
            return "dj_queue.E014"
        case InvalidTask():
            return "dj_queue.E013"
    return "dj_queue.E010"
