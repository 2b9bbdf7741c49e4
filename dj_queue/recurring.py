"""Recurring tasks that people schedule while the project runs, and switches for all of them.

Tasks that are known when the project is written stand in `OPTIONS["recurring"]` or have the decorator
`dj_queue.api.recurring`; see docs/recurring.md. All names here are for import from `dj_queue.api`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from django.tasks import task_backends

from dj_queue.config import backend_config
from dj_queue.models import RecurringTask
from dj_queue.operations import recurring_entries
from dj_queue.operations.recurring import run_now
from dj_queue.typing import AnyResult

__all__ = [
    "disable_recurring_task",
    "enable_recurring_task",
    "run_recurring_task_now",
    "schedule_recurring_task",
    "unschedule_recurring_task",
]


def schedule_recurring_task(
    *,
    key: str,
    task_path: str,
    schedule: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    queue_name: str = "default",
    priority: int = 0,
    description: str = "",
    timezone: str | None = None,
    catch_up: str = "latest",
    enabled: bool = True,
    backend_alias: str = "default",
) -> RecurringTask:
    """Have the task at *task_path* enqueued by *schedule* from now on; *key* says which entry that is.

    What is there under the key is changed; a new schedule or zone starts with its first time from now.
    Takes part in the caller's transaction. It fires where `OPTIONS["scheduler"]["dynamic_tasks_enabled"]`
    is set, and is only kept where it is not.

    Raises `InvalidRecurringTask`, which is an `EnqueueError` and a `ValidationError`, or another
    `EnqueueError`: for a schedule that means nothing or never comes, a path that leads to no task, a queue
    or priority that is not allowed, arguments that cannot be stored, and a key of settings or a decorator.
    """
    config = backend_config(backend_alias)
    given = {
        "task_path": task_path, "schedule": schedule, "args": args,
        "kwargs": {} if kwargs is None else kwargs, "queue_name": queue_name,
        "priority": priority, "description": description, "timezone": timezone,
        "catch_up": catch_up, "enabled": enabled,
    }  # fmt: skip
    return recurring_entries.schedule(config, key, given)


def unschedule_recurring_task(key: str, *, backend_alias: str = "default") -> int:
    """Forget what `schedule_recurring_task` has written under *key*; how many entries were forgotten.

    0 for a key that is not there, or that settings or a decorator have. Records of what was fired stay.
    """
    return recurring_entries.unschedule(backend_config(backend_alias), key)


def disable_recurring_task(key: str, *, backend_alias: str = "default") -> int:
    """Have the entry *key*, wherever it comes from, not fire any more; how many entries there are, 0 or 1.

    It stays so, whatever settings say, until `enable_recurring_task`.
    """
    return recurring_entries.switch(backend_config(backend_alias), key, on=False)


def enable_recurring_task(key: str, *, backend_alias: str = "default") -> int:
    """Have the entry *key* fire again; how many entries there are, 0 or 1.

    It starts with its first time from now. What settings disable is disabled again when a scheduler starts.
    """
    return recurring_entries.switch(backend_config(backend_alias), key, on=True)


def run_recurring_task_now(key: str, *, backend_alias: str = "default") -> AnyResult:
    """Enqueue the job of the entry *key* once more, now; its result. Its times stay as they are.

    Also for an entry that is disabled. Raises `InvalidRecurringTask` when there is none.
    """
    fired = run_now(backend_config(backend_alias), key)
    return task_backends[backend_alias].get_result(str(fired.job_id))
