"""The concurrency policy of a task: how it is declared, and what a call of it makes of that.

Four attributes, looked for on the task and then on its function: `concurrency_key`, `concurrency_limit`,
`concurrency_duration` and `on_conflict`. The decorators set them, and `concurrency_group` beside: what
stands before the key, so that equal keys of different tasks need not mean the same.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from inspect import Signature, signature
from typing import Any, NamedTuple

from dj_queue import payload
from dj_queue.config import BackendConfig
from dj_queue.exceptions import DispatchPolicyError
from dj_queue.store.records import RATE, Limit
from dj_queue.typing import AnyTask

MOST_KEY_CHARACTERS = 255
_MOST = 2**31 - 1

RATE_ATTRIBUTE = "dj_queue_rate_limit"
"""Where `limits_rate` leaves what it was given."""

TWO_LIMITS = "has a rate limit and a concurrency limit; a job has one limit, so choose one of them"

_MISSING: Any = object()


class Policy(NamedTuple):
    """What one call of a task says."""

    limit: Limit
    discards: bool


def concurrency[T](
    *,
    key: str | Callable[..., str],
    limit: int,
    duration: timedelta | float | None = None,
    on_conflict: str = "block",
) -> Callable[[T], T]:
    """At most *limit* jobs with the same *key* are ready or running at once, above or below `@task`.

    *key* is a template that is formatted with the call's arguments, or a callable that gets them. It is
    shared by all tasks of the database that name it. *duration* is for how long an unused key is
    remembered (seconds or a `timedelta`, by default `OPTIONS["default_concurrency_duration"]`); a job that
    runs for longer keeps its slot. A job that finds no slot waits (`"block"`) or ends at once without
    being run (`"discard"`). What is wrong is told by the enqueue, as `EnqueueError`.
    """
    return _declare(
        concurrency_key=key,
        concurrency_limit=limit,
        concurrency_duration=duration,
        on_conflict=on_conflict,
        concurrency_group=None,
    )


def limits_concurrency[T](
    *,
    key: str | Callable[..., str],
    to: int = 1,
    duration: timedelta | float | None = None,
    group: str | None = None,
    on_conflict: str = "block",
) -> Callable[[T], T]:
    """Like `concurrency`, but *key* is the task's own, or shared by the tasks with the same *group*.

    What is stored is `<group>/<key>`, with the path of the task where there is no group.
    """
    return _declare(
        concurrency_key=key,
        concurrency_limit=to,
        concurrency_duration=duration,
        on_conflict=on_conflict,
        concurrency_group=True if group is None else group,
    )


def _declare[T](**attributes: Any) -> Callable[[T], T]:
    def decorate(task_or_function: T) -> T:
        function: Any = getattr(task_or_function, "func", task_or_function)
        refuse_second_limit(function, "concurrency_key")
        for name, value in attributes.items():
            setattr(function, name, value)
        return task_or_function

    return decorate


def refuse_second_limit(function: Any, name: str) -> None:
    """Raise `DispatchPolicyError` if *function* has a limit of the other kind than the attribute *name*."""
    other = RATE_ATTRIBUTE if name != RATE_ATTRIBUTE else "concurrency_key"
    if getattr(function, other, None) is not None:
        path = f"{function.__module__}.{function.__qualname__}"
        raise DispatchPolicyError(f"{path} {TWO_LIMITS}")


@dataclass
class Declared:
    """The policy of one task, checked; each call of it is given its own key."""

    task: AnyTask
    key: str | Callable[..., Any]
    prefix: str
    limit: int
    duration: int
    discards: bool
    name: str = "concurrency_key"
    """What errors call the key."""

    def resolve(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Policy:
        """What a call with these arguments says; raises `DispatchPolicyError`."""
        key = self._format(args, kwargs) if isinstance(self.key, str) else self._call(args, kwargs)
        if not isinstance(key, str) or not key:
            raise self._wrong(f"make text that is not empty, not {key!r}")
        key = fitting_key(self.task, self.name, f"{self.prefix}{key}")
        if key.startswith(RATE) and self.name == "concurrency_key":
            raise self._wrong(f"not begin with {RATE!r}, which the keys of rate limits do: {key!r}")
        return Policy(Limit(key, self.limit, self.duration), self.discards)

    def _format(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise DispatchPolicyError(
                f"the arguments are not those of {self.task.module_path}: {error}; its {self.name} "
                f"{self.key!r} is made of them"
            ) from error
        bound.apply_defaults()
        try:
            return str(self.key).format(**bound.arguments)
        except Exception as error:
            raise DispatchPolicyError(
                f"{self.name} {self.key!r} of {self.task.module_path} cannot be formatted with "
                f"the arguments {sorted(bound.arguments)}: {error!r}"
            ) from error

    def _call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if not callable(self.key):
            raise self._wrong(f"be text or a callable, not {self.key!r}")
        try:
            return self.key(*args, **kwargs)
        except Exception as error:
            raise DispatchPolicyError(
                f"{self.name} of {self.task.module_path} cannot be called with the job's "
                f"arguments: {error!r}"
            ) from error

    def _wrong(self, expected: str) -> DispatchPolicyError:
        return _wrong(self.task, self.name, expected)

    @cached_property
    def _signature(self) -> Signature:
        found = signature(self.task.func)
        if not self.task.takes_context:
            return found
        return found.replace(parameters=list(found.parameters.values())[1:])


def fitting_key(task: AnyTask, name: str, key: str) -> str:
    """*key* as it is stored; raises `DispatchPolicyError`, which calls it *name*, if it cannot be."""
    # MySQL compares text without the blanks at its end.
    key = key.rstrip(" ")
    if not 0 < len(key) <= MOST_KEY_CHARACTERS:
        expected = f"make 1 to {MOST_KEY_CHARACTERS} characters"
        raise _wrong(task, name, f"{expected}, not the {len(key)} of {key[:80]!r}")
    if not payload.is_storable_text(key):
        raise _wrong(task, name, f"make text that can be stored, not {key!r}")
    return key


def declared(config: BackendConfig, task: AnyTask) -> Declared | None:
    """The policy of *task*; None when it has none. Raises `DispatchPolicyError` for one that cannot be."""
    key = _attribute(task, "concurrency_key", None)
    if key is None or key == "":
        return None
    if not isinstance(key, str) and not callable(key):
        raise _wrong(task, "concurrency_key", f"be text or a callable, not {key!r}")
    on_conflict = _attribute(task, "on_conflict", None) or "block"
    if on_conflict not in ("block", "discard"):
        raise _wrong(task, "on_conflict", f"be 'block' or 'discard', not {on_conflict!r}")
    return Declared(
        task=task,
        key=key,
        prefix=_prefix(task),
        limit=_limit(task),
        duration=_duration(config, task),
        discards=on_conflict == "discard",
    )


def _limit(task: AnyTask) -> int:
    limit = _attribute(task, "concurrency_limit", None)
    if limit is None:
        raise _wrong(task, "concurrency_limit", "be given beside concurrency_key")
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= _MOST:
        raise _wrong(task, "concurrency_limit", f"be a whole number above 0, not {limit!r}")
    return limit


def _duration(config: BackendConfig, task: AnyTask) -> int:
    duration = _attribute(task, "concurrency_duration", None)
    if duration is None:
        duration = config.options.default_concurrency_duration
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds <= _MOST:
        raise _wrong(
            task, "concurrency_duration", f"be a timedelta or seconds above 0, not {duration!r}"
        )
    return math.ceil(seconds)


def _prefix(task: AnyTask) -> str:
    group = _attribute(task, "concurrency_group", None)
    if group is None:
        return ""
    if group is True:
        return f"{task.module_path}/"
    if not isinstance(group, str) or not group:
        raise _wrong(task, "concurrency_group", f"be text that is not empty, not {group!r}")
    return f"{group}/"


def _attribute(task: AnyTask, name: str, default: Any) -> Any:
    found = getattr(task, name, _MISSING)
    return getattr(task.func, name, default) if found is _MISSING else found


def _wrong(task: AnyTask, name: str, expected: str) -> DispatchPolicyError:
    return DispatchPolicyError(f"{name} of {task.module_path} must {expected}")
