"""Entries of `OPTIONS["recurring"]`, and the options of the scheduler that fires them.

Only types are looked at when settings are read. Whether a schedule means anything and whether there is such
a task is found out by the system checks and by the scheduler, for each entry by itself: a typo in one of
them must neither break `enqueue()` nor the other entries.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from dj_queue.config import values
from dj_queue.exceptions import ConfigurationError
from dj_queue.payload import is_storable_text

CATCH_UP = ("skip", "latest", "all")
"""What becomes of times that have passed while nobody fired."""

LONGEST_KEY = 255
"""Characters of an entry's key, and of the path of its task."""

LONGEST_QUEUE_NAME = 64

_REQUIRED = ("task_path", "schedule")


def _field[T](default: T, reads: Callable[[Any, str], object], about: str) -> T:
    made: T = field(default=default, metadata={"reads": reads, "about": about})
    return made


def short_text(most: int) -> Callable[[Any, str], str]:
    """A reader of text of 1 to *most* characters."""

    def read(found: Any, where: str) -> str:
        is_fit = isinstance(found, str) and 0 < len(found) <= most
        if not is_fit or not is_storable_text(found):
            raise values.wrong(where, f"text of 1 to {most} characters", found)
        return str(found)

    return read


def _priority(found: Any, where: str) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or not -100 <= found <= 100:
        raise values.wrong(where, "a whole number between -100 and 100", found)
    return found


def _arguments(found: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(found, list | tuple):
        raise values.wrong(where, "a list", found)
    return tuple(found)


def _keywords(found: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise values.wrong(where, "a mapping of names to values", found)
    return dict(found)


def _any_text(found: Any, where: str) -> str:
    if not isinstance(found, str) or not is_storable_text(found):
        raise values.wrong(where, "text", found)
    return found


@dataclass(frozen=True, slots=True)
class RecurringTaskConfig(values.Configured):
    """A recurring task as settings or a decorator describe it."""

    key: str
    """What it is called, once in a backend."""
    task_path: str = _field("", short_text(LONGEST_KEY), "Dotted path of the task.")
    schedule: str = _field("", short_text(LONGEST_KEY), "When; see `dj_queue.schedule`.")
    args: tuple[Any, ...] = _field((), _arguments, "Positional arguments.")
    kwargs: Mapping[str, Any] = _field(MappingProxyType({}), _keywords, "Keyword arguments.")
    queue_name: str | None = _field(
        "default",
        values.optional(short_text(LONGEST_QUEUE_NAME)),
        "Queue of its jobs; not the one that `@task` names.",
    )
    """None for the task's own, which only the decorator can say."""
    priority: int | None = _field(
        0, values.optional(_priority), "Priority of its jobs; not the one that `@task` names."
    )
    """None for the task's own, which only the decorator can say."""
    description: str = _field("", _any_text, "For people.")
    timezone: str | None = _field(
        None,
        values.optional(short_text(LONGEST_QUEUE_NAME)),
        "Zone of the schedule; by default `TIME_ZONE`.",
    )
    catch_up: str = _field(
        "latest",
        values.one_of(*CATCH_UP),
        "What is made up after a time in which nobody fired: `skip`, `latest` or `all`.",
    )
    enabled: bool = _field(True, values.yes_or_no, "Whether it fires at all.")


@dataclass(frozen=True, slots=True)
class SchedulerConfig(values.Configured):
    """`OPTIONS["scheduler"]`: the actor that fires recurring tasks and clears away what is old."""

    dynamic_tasks_enabled: bool = _field(
        False,
        values.yes_or_no,
        "Whether tasks of `schedule_recurring_task()` fire, and not only those of settings and decorators.",
    )
    polling_interval: float = _field(
        5.0,
        values.seconds(above_zero=True),
        "Seconds between looks for changed entries where the database cannot wake the scheduler.",
    )
    catch_up_limit: int = _field(
        100,
        values.whole_number(minimum=1),
        "The most times of one entry that are made up with `catch_up` `all`; the newest.",
    )


def scheduler(found: Any, where: str) -> SchedulerConfig:
    """A reader of `scheduler`."""
    return values.record(SchedulerConfig, found, where)


def entries(found: Any, where: str) -> tuple[RecurringTaskConfig, ...]:
    """A reader of `recurring`: a mapping from keys to entries."""
    if not isinstance(found, Mapping):
        raise values.wrong(where, "a mapping from keys to entries", found)
    return tuple(
        read_entry(key, _with_values(entry, f"{where}[{key!r}]"), f"{where}[{key!r}]")
        for key, entry in found.items()
    )


def read_entry(key: str, found: Mapping[str, Any], where: str) -> RecurringTaskConfig:
    """The entry called *key* with the options in *found*, their types checked."""
    for name in _REQUIRED:
        if name not in found:
            raise ConfigurationError(f"{where}[{name!r}] is missing")
    if "key" in found:
        raise ConfigurationError(f"{where}['key'] is not an option; the key is {key!r}")
    return RecurringTaskConfig(
        short_text(LONGEST_KEY)(key, f"the key of {where}"),
        **values.read_fields(RecurringTaskConfig, found, where),
    )


def _with_values(found: Any, where: str) -> Mapping[str, Any]:
    # "The task's own" is for the decorator to say; here there are defaults.
    if not isinstance(found, Mapping):
        raise values.wrong(where, "a mapping", found)
    for name in ("queue_name", "priority"):
        if name in found and found[name] is None:
            raise values.wrong(f"{where}[{name!r}]", "left out, or a value", None)
    return found
