"""Rate limits: at most so many jobs may start in a period, of a task, of a key or of a queue.

A rate limit is a key whose slots last for a period, see `dj_queue.store.slots`. A job has one limit: what its
task declares, be that a rate or how many at once, and else the rate of its queue.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from dj_queue.config import BackendConfig
from dj_queue.config.rates import EXPECTED_PERIOD, is_number_of_jobs, whole_seconds
from dj_queue.exceptions import DispatchPolicyError
from dj_queue.operations import policy
from dj_queue.operations.policy import Declared, Policy
from dj_queue.store.records import RATE, Limit
from dj_queue.typing import AnyTask


class Rate(NamedTuple):
    """What `limits_rate` was given, checked."""

    key: str | Callable[..., str] | None
    to: int
    per: int
    """Seconds."""
    group: str | None


def limits_rate[T](
    *,
    key: str | Callable[..., str] | None = None,
    to: int,
    per: timedelta | float,
    group: str | None = None,
) -> Callable[[T], T]:
    """At most *to* jobs of this task become ready to run in any period *per*, above or below `@task`.

    *per* is a `timedelta` or seconds, whole ones. With a *key*, a template that is formatted with the call's
    arguments or a callable that gets them, each key has a limit of its own. Tasks with the same *group* share
    theirs. Further jobs wait for their turn, by priority and then by age. What became of a job gives nothing
    back: a retry counts as well.

    Raises `DispatchPolicyError` for values that cannot be used, and for a task that has a concurrency limit.
    """
    seconds = whole_seconds(per)
    if key is not None and not callable(key) and not (isinstance(key, str) and key):
        raise _wrong("key", "None, text that is not empty, or a callable", key)
    if not is_number_of_jobs(to):
        raise _wrong("to", "a whole number above 0", to)
    if seconds is None:
        raise _wrong("per", EXPECTED_PERIOD, per)
    if group is not None and not (isinstance(group, str) and group):
        raise _wrong("group", "None or text that is not empty", group)
    rate = Rate(key, to, seconds, group)

    def decorate(task_or_function: T) -> T:
        function: Any = getattr(task_or_function, "func", task_or_function)
        policy.refuse_second_limit(function, policy.RATE_ATTRIBUTE)
        setattr(function, policy.RATE_ATTRIBUTE, rate)
        return task_or_function

    return decorate


@dataclass
class Same:
    """A limit that all calls share, whatever their arguments."""

    limit: Limit

    def resolve(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Policy:  # noqa: ARG002
        """What a call with these arguments says."""
        return Policy(self.limit, discards=False)


def declared(config: BackendConfig, task: AnyTask) -> Declared | Same | None:
    """The one limit that jobs of *task* have; None when they have none.

    Raises `DispatchPolicyError` for one that cannot be.
    """
    at_once = policy.declared(config, task)
    rate: Rate | None = getattr(task.func, policy.RATE_ATTRIBUTE, None)
    if at_once is not None and rate is not None:
        raise DispatchPolicyError(f"{task.module_path} {policy.TWO_LIMITS}")
    if at_once is not None:
        return at_once
    return _of_task(task, rate) if rate is not None else _of_queue(config, task.queue_name)


def _of_task(task: AnyTask, rate: Rate) -> Declared | Same:
    name = RATE + (rate.group or task.module_path)
    if rate.key is None:
        return Same(Limit(policy.fitting_key(task, "rate limit's key", name), rate.to, rate.per))
    return Declared(
        task=task,
        key=rate.key,
        prefix=f"{name}/",
        limit=rate.to,
        duration=rate.per,
        discards=False,
        name="rate limit's key",
    )


def _of_queue(config: BackendConfig, queue_name: str) -> Same | None:
    found = config.options.rate_limits.get(queue_name)
    if found is None:
        return None
    # A queue belongs to a backend. No path of a task has a colon.
    return Same(Limit(f"{RATE}queue:{config.alias}/{queue_name}", found.to, found.per))


def _wrong(name: str, expected: str, found: object) -> DispatchPolicyError:
    return DispatchPolicyError(f"{name} of limits_rate must be {expected}, not {found!r}")
