"""Functions of the project that are called when the parts of a runtime start and end, and around jobs.

Register them before the runtime starts, for instance in `AppConfig.ready()`:

    from dj_queue.hooks import on_worker_start

    @on_worker_start
    def warm_up(process):
        ...

A hook gets the `dj_queue.models.Process` of the part it is about. `start` hooks are called once the process
is registered and before its first job begins; `stop` hooks when it has been asked to stop; `exit` hooks
when its row is gone from the database. They are called in the order in which they were registered; one
that raises is reported to `OPTIONS["on_thread_error"]` and the next is called all the same.

Hooks around jobs get the job's `TaskResult`, and stand for every task, or for one:

    from dj_queue.hooks import job_hooks, on_job_failed

    @on_job_failed
    def tell_the_team(result, error):
        ...

    @job_hooks(before=check_the_weather, after=tidy_up)  # above or below @task
    @task
    def fly(): ...

| | called | gets | when it raises |
|---|---|---|---|
| `on_job_enqueued` | by who enqueues, when the job is written, perhaps not committed | result | reported |
| `before_job` | by the worker, right before the task | result | the job fails and does not run |
| `on_job_failed` | by the worker, when the attempt has failed | result, exception | reported |
| `after_job` | by the worker, after each attempt, last | result | reported |

They run in the job's thread, with its database connections, or beside the event loop for async jobs; an
`async def` is awaited. Those of every task come before those of one, each in order of registration. The
outcome is written after them. Nobody calls them for a job whose process was lost.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, overload

from asgiref.sync import async_to_sync, sync_to_async

from dj_queue import events
from dj_queue.typing import AnyResult

if TYPE_CHECKING:
    from dj_queue.models import Process

__all__ = [
    "EVENTS",
    "JOB_EVENTS",
    "JobHooks",
    "after_job",
    "before_job",
    "clear_hooks",
    "fire_hooks",
    "hooks_of",
    "job_hooks",
    "on_dispatcher_exit",
    "on_dispatcher_start",
    "on_dispatcher_stop",
    "on_exit",
    "on_job_enqueued",
    "on_job_failed",
    "on_scheduler_exit",
    "on_scheduler_start",
    "on_scheduler_stop",
    "on_start",
    "on_stop",
    "on_worker_exit",
    "on_worker_start",
    "on_worker_stop",
    "register_hook",
]

type Hook = Callable[["Process"], object]

EVENTS = tuple(
    f"{kind}.{moment}"
    for kind in ("supervisor", "worker", "dispatcher", "scheduler")
    for moment in ("start", "stop", "exit")
)
"""What hooks can be registered for."""

_hooks: dict[str, tuple[Hook, ...]] = {}

type JobHook = Callable[..., object]

JOB_EVENTS = ("job.enqueued", "job.before", "job.failed", "job.after")
"""What hooks around jobs can be registered for, in the order in which they are called."""


@overload
def register_hook[H: Hook](event: str, fn: H) -> H: ...
@overload
def register_hook[H: Hook](event: str, fn: None = None) -> Callable[[H], H]: ...
def register_hook[H: Hook](event: str, fn: H | None = None) -> H | Callable[[H], H]:
    """Have *fn* called at *event*, one of `EVENTS` or `JOB_EVENTS`; without *fn* a decorator.

    The function is returned. Raises `ValueError` for an unknown event.
    """
    known = (*EVENTS, *JOB_EVENTS)
    if event not in known:
        raise ValueError(f"register_hook: expected one of {', '.join(known)}, found {event!r}")

    def register(function: H) -> H:
        if event in JOB_EVENTS:
            _for_every_task(JobHooks.of(**{event.removeprefix("job."): function}))
            return function
        _hooks[event] = (*_hooks.get(event, ()), function)
        return function

    return register if fn is None else register(fn)


def fire_hooks(event: str, process: "Process", *, backend_alias: str = "default") -> None:
    """Call the hooks of *event* with *process*."""
    for hook in _hooks.get(event, ()):
        try:
            hook(process)
        except BaseException as error:  # noqa: BLE001 - SystemExit too: it would end a thread of the runtime
            events.emit(events.HookFailed(backend_alias, event, error))


def clear_hooks(event: str | None = None) -> None:
    """Forget the hooks of *event*, or all of them; those of single tasks stay."""
    global _of_every_task
    if event is None:
        _hooks.clear()
        _of_every_task = None
    elif event in JOB_EVENTS and _of_every_task is not None:
        left = {**_of_every_task.as_dict(), event.removeprefix("job."): ()}
        _of_every_task = JobHooks(**left) if any(left.values()) else None
    else:
        _hooks.pop(event, None)


def _shortcut(event: str) -> Callable[[Hook], Hook]:
    def register(function: Hook) -> Hook:
        return register_hook(event, function)

    register.__doc__ = f"Have *function* called at `{event}`."
    return register


on_start = _shortcut("supervisor.start")
on_stop = _shortcut("supervisor.stop")
on_exit = _shortcut("supervisor.exit")
on_worker_start = _shortcut("worker.start")
on_worker_stop = _shortcut("worker.stop")
on_worker_exit = _shortcut("worker.exit")
on_dispatcher_start = _shortcut("dispatcher.start")
on_dispatcher_stop = _shortcut("dispatcher.stop")
on_dispatcher_exit = _shortcut("dispatcher.exit")
on_scheduler_start = _shortcut("scheduler.start")
on_scheduler_stop = _shortcut("scheduler.stop")
on_scheduler_exit = _shortcut("scheduler.exit")


@dataclass(frozen=True, slots=True)
class JobHooks:
    """The hooks around the jobs of a task."""

    enqueued: tuple[JobHook, ...] = ()
    before: tuple[JobHook, ...] = ()
    failed: tuple[JobHook, ...] = ()
    after: tuple[JobHook, ...] = ()

    @classmethod
    def of(cls, **hooks: JobHook | None) -> "JobHooks":
        """Each of *hooks* alone; raises `TypeError` for what cannot be called."""
        for name, hook in hooks.items():
            if hook is not None and not callable(hook):
                raise TypeError(f"job_hooks: {name} must be a function, not {hook!r}")
        return cls(**{name: (hook,) for name, hook in hooks.items() if hook is not None})

    def __add__(self, later: "JobHooks") -> "JobHooks":
        added = later.as_dict()
        return JobHooks(**{name: own + added[name] for name, own in self.as_dict().items()})

    def as_dict(self) -> dict[str, tuple[JobHook, ...]]:
        """The hooks by name."""
        return {name: getattr(self, name) for name in ("enqueued", "before", "failed", "after")}

    def call_enqueued(self, result: AnyResult, backend_alias: str) -> None:
        """Say that the job of *result* was written."""
        for hook in self.enqueued:
            _reported(backend_alias, "job.enqueued", hook, result)

    def call_before(self, result: AnyResult) -> None:
        """Say that the task is about to be called; whatever a hook raises is raised."""
        for hook in self.before:
            _call(hook, result)

    async def acall_before(self, result: AnyResult) -> None:
        """See `call_before`; no hook holds up the event loop."""
        for hook in self.before:
            await _acall(hook, result)

    def call_ended(
        self, result: AnyResult, error: BaseException | None, backend_alias: str
    ) -> None:
        """Say that an attempt has ended, with *error* if it has failed."""
        if error is not None:
            for hook in self.failed:
                _reported(backend_alias, "job.failed", hook, result, error)
        for hook in self.after:
            _reported(backend_alias, "job.after", hook, result)

    async def acall_ended(
        self, result: AnyResult, error: BaseException | None, backend_alias: str
    ) -> None:
        """See `call_ended`; no hook holds up the event loop."""
        if error is not None:
            for hook in self.failed:
                await _areported(backend_alias, "job.failed", hook, result, error)
        for hook in self.after:
            await _areported(backend_alias, "job.after", hook, result)


_of_every_task: JobHooks | None = None


def hooks_of(function: object) -> JobHooks | None:
    """The hooks around the jobs of the task whose function this is; None where there are none."""
    own: JobHooks | None = getattr(function, "dj_queue_hooks", None)
    if own is None or _of_every_task is None:
        return own or _of_every_task
    return _of_every_task + own


def job_hooks[T](
    *,
    enqueued: JobHook | None = None,
    before: JobHook | None = None,
    failed: JobHook | None = None,
    after: JobHook | None = None,
) -> Callable[[T], T]:
    """Hooks around the jobs of one task, above or below `@task`; several add up, the upper ones last."""
    added = JobHooks.of(enqueued=enqueued, before=before, failed=failed, after=after)

    def decorate(task_or_function: T) -> T:
        function: Any = getattr(task_or_function, "func", task_or_function)
        own: JobHooks | None = getattr(function, "dj_queue_hooks", None)
        function.dj_queue_hooks = added if own is None else own + added
        return task_or_function

    return decorate


def _for_every_task(added: JobHooks) -> None:
    global _of_every_task
    _of_every_task = added if _of_every_task is None else _of_every_task + added


def _job_shortcut(event: str, about: str) -> Callable[[JobHook], JobHook]:
    def register(function: JobHook) -> JobHook:
        return register_hook(event, function)

    register.__doc__ = about
    return register


on_job_enqueued = _job_shortcut("job.enqueued", "Have *function(result)* called for each new job.")
before_job = _job_shortcut("job.before", "Have *function(result)* called before each attempt.")
on_job_failed = _job_shortcut(
    "job.failed", "Have *function(result, exception)* called after each attempt that failed."
)
after_job = _job_shortcut("job.after", "Have *function(result)* called after each attempt.")


def _call(hook: JobHook, *args: object) -> None:
    if iscoroutinefunction(hook):
        async_to_sync(hook)(*args)
    else:
        hook(*args)


def _acall(hook: JobHook, *args: object) -> Awaitable[object]:
    if iscoroutinefunction(hook):
        return hook(*args)
    return sync_to_async(hook, thread_sensitive=True)(*args)


def _reported(backend_alias: str, event: str, hook: JobHook, *args: object) -> None:
    try:
        _call(hook, *args)
    except BaseException as error:  # noqa: BLE001 - SystemExit too: it would end a thread of the runtime
        events.emit(events.HookFailed(backend_alias, event, error))


async def _areported(backend_alias: str, event: str, hook: JobHook, *args: object) -> None:
    try:
        await _acall(hook, *args)
    except BaseException as error:  # noqa: BLE001 - as above, and a cancellation at the runtime's end
        events.emit(events.HookFailed(backend_alias, event, error))
