"""One attempt of a job: its arguments, its task, what is told of it, and its outcome."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from datetime import datetime, timedelta
from functools import cache
from inspect import iscoroutinefunction
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, sync_to_async
from django.dispatch import Signal
from django.tasks import task_backends
from django.tasks.base import TaskContext, TaskError, TaskResultStatus
from django.tasks.signals import task_finished, task_started

from dj_queue import arguments, events, payload
from dj_queue.exceptions import PayloadError, ReturnValueError, exception_path
from dj_queue.hooks import JobHooks, hooks_of
from dj_queue.operations.workflows import NOTE
from dj_queue.reads.results import build_result, task_errors
from dj_queue.reads.tasks import as_enqueued, import_task, is_imported, stand_in
from dj_queue.runtime.steps import RunningStep
from dj_queue.signals import has_listeners, project_listens
from dj_queue.store.records import ClaimedJob, JobError, Outcome
from dj_queue.store.shared import django_time
from dj_queue.typing import AnyResult, AnyTask

if TYPE_CHECKING:
    from dj_queue.runtime.executor import TaskRunner

_MAX_CLASS_PATH = 255
_MAX_MESSAGE_CHARACTERS = 10_000
_MAX_TRACEBACK_CHARACTERS = 50_000

# A payload has two keys, unless the library has noted something beside the arguments.
_PLAIN_KEYS = 2

_NOTHING_AROUND: AbstractContextManager[object] = nullcontext()

# The functions of tasks, which stay: it takes longer to ask than to make a note.
_is_async = cache(iscoroutinefunction)


def _nothing() -> None:
    return


class NotBegun(Exception):
    """Raised in place of the first of the project's code: it is too late for the job to begin here."""


class Attempt:
    """One run of a job, from its start to its outcome, with the hooks and signals that go with it."""

    __slots__ = (
        "_began",
        "_given",
        "_hooks",
        "_is_noted",
        "_plain",
        "_result",
        "_runner",
        "_step",
        "_task",
        "has_told",
        "job",
        "started_at",
    )

    def __init__(self, runner: "TaskRunner", job: ClaimedJob) -> None:
        self.job = job
        self.started_at = runner.clock.now()
        self.has_told = False
        """Whether anybody but the task had the connections: hooks, receivers other than Django's own."""
        self._began = time.monotonic()
        self._is_noted = False
        self._runner = runner
        self._task: AnyTask | None = None
        self._result: AnyResult | None = None
        self._plain: Any = None
        self._given: tuple[list[Any], dict[str, Any]] | None = None
        self._hooks: JobHooks | None = None
        self._step: RunningStep | None = None

    @property
    def needs_loading(self) -> bool:
        """Whether there is more to the job than plain arguments, and `load` has to be called first."""
        return len(self.job.payload) > _PLAIN_KEYS

    @property
    def is_step(self) -> bool:
        """Whether the job is a step of a workflow, and `hand_over` has to be called at its end."""
        return self._step is not None

    def load(self) -> None:
        """Ask the database for what the arguments name, and for the workspace of a step."""
        stored = self.job.payload
        if arguments.RICH in stored:
            # What makes a model or an enum of a value is the project's code, and may end the process.
            self._begin()
            self._given = arguments.restored(stored)
        if NOTE in stored:
            self._step = RunningStep(self._runner.config, self.job)

    def hand_over(self) -> None:
        """Record the end of this step, and enqueue the next one, in one transaction."""
        self.has_told = True
        if self._step is not None:
            self._step.hand_over()

    def prepare(self) -> tuple[AnyTask, list[Any], dict[str, Any]]:
        """The task and the arguments of the call."""
        task = self._task = self._imported()
        self._hooks = hooks_of(task.func)
        args, kwargs = self._arguments()
        if task.takes_context or has_listeners(task_finished, logging.INFO):
            # Whoever looks at the result sees what was given, whatever the task does to its arguments.
            args, kwargs = deepcopy(args), deepcopy(kwargs)
        if task.takes_context:
            args = [TaskContext(task_result=self.result), *args]
        return task, args, kwargs

    def call(self, task: AnyTask, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """What the task returns. Hooks come first, and may raise in its place."""
        if self._step is not None and self._step.is_over:
            return None
        if self._hooks is not None:
            self.has_told = True
            if self._hooks.before:
                self._begin()
            self._hooks.call_before(self.result)
        with self._surroundings():
            if _is_async(task.func):
                return async_to_sync(self._begin_and_await)(task.func, args, kwargs)
            return self._begin_and_call(task.func, args, kwargs)

    async def acall(self, task: AnyTask, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """See `call`."""
        if self._step is not None and self._step.is_over:
            return None
        if self._hooks is not None:
            if self._hooks.before:
                self._begin()
            await self._hooks.acall_before(self.result)
        with self._surroundings():
            if _is_async(task.func):
                return await self._begin_and_await(task.func, args, kwargs)
            return await sync_to_async(self._begin_and_call)(task.func, args, kwargs)

    def succeed(self, value: Any) -> Outcome:
        """The outcome of a call that returned *value*; raises `ReturnValueError` when it is not JSON."""
        self._plain, text = self._storable(value)
        return Outcome(self.job, self.started_at, self._finished_at(), result=text)

    def fail(self, error: BaseException) -> Outcome:
        """The outcome of a call that raised *error*."""
        described = describe_error(error)
        return Outcome(self.job, self.started_at, self._finished_at(), error=described)

    def not_begun(self) -> Outcome:
        """What stands for an outcome when `NotBegun` was raised."""
        error = JobError(exception_path(NotBegun), "The job came too late to begin here.", "")
        return Outcome(self.job, self.started_at, self._finished_at(), error=error, has_begun=False)

    def tell_started(self) -> None:
        """Send Django's `task_started`."""
        if has_listeners(task_started, logging.INFO):
            self._send(task_started, self.result)

    async def atell_started(self) -> None:
        """See `tell_started`."""
        if has_listeners(task_started, logging.INFO):
            await self._asend(task_started, self.result)

    def tell_finished(self, outcome: Outcome, error: BaseException | None = None) -> None:
        """Call hooks, and send Django's `task_finished`; that not for a task that cannot be imported."""
        if (hooks := self._ended_hooks()) is not None:
            self.has_told = True
            self._begin()
            hooks.call_ended(self._finished(outcome), error, self._runner.config.alias)
        if self._is_finish_heard(outcome):
            self._send(task_finished, self._finished(outcome))

    async def atell_finished(self, outcome: Outcome, error: BaseException | None = None) -> None:
        """See `tell_finished`."""
        if (hooks := self._ended_hooks()) is not None:
            self._begin()
            result = self._finished(outcome)
            await hooks.acall_ended(result, error, self._runner.config.alias)
        if self._is_finish_heard(outcome):
            await self._asend(task_finished, self._finished(outcome))

    @property
    def result(self) -> AnyResult:
        """What Django shows of the job while this attempt runs; the same object at each call."""
        if self._result is None:
            self._result = self._ended(TaskResultStatus.RUNNING, None)
        return self._result

    def _imported(self) -> AnyTask:
        if is_imported(self.job.task_path):
            return import_task(self.job.task_path)
        try:
            # A module may end the process, and would end each one that imports it.
            with self._runner.importing(self.job):
                return import_task(self.job.task_path)
        finally:
            # However long that took: who recovers a process that imports gives none of its jobs to others.
            self._noting()()

    def _begin(self) -> None:
        """Note that the job has begun: what comes next is the project's own, and may have effects."""
        is_first, note = not self._is_noted, self._noting()
        note()
        # A process that was stopped (SIGSTOP, a laptop asleep) goes on where it was, when others may have run
        # the job. Stopped before the note, it refuses here; stopped after it, others have seen the note.
        if is_first and time.monotonic() > self.job.start_by:
            raise NotBegun

    def _noting(self) -> Callable[[], object]:
        if self._is_noted:
            return _nothing
        self._is_noted = True
        return self._runner.noting(self.job)

    # A process that is killed between the note and the task's first effect leaves a job that fails without
    # having done anything. So the two are next to each other: everything is at hand before, and no log
    # line, other thread or event loop is waited for in between.

    def _begin_and_call(
        self, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        self._begin()
        return function(*args, **kwargs)

    async def _begin_and_await(
        self, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        self._begin()
        return await function(*args, **kwargs)

    def _arguments(self) -> tuple[list[Any], dict[str, Any]]:
        if self._given is None:
            # Without a query: they could not be fetched, or this is not the place for it.
            return arguments.shown(self.job.payload, fetch=False)
        return self._given

    def _surroundings(self) -> AbstractContextManager[object]:
        return _NOTHING_AROUND if self._step is None else self._step.workspace()

    def _ended_hooks(self) -> JobHooks | None:
        if self._step is not None and self._step.is_over:
            return None
        # Who wants to hear of every failure hears of tasks that are gone too.
        return self._hooks if self._task is not None else hooks_of(None)

    def _is_finish_heard(self, outcome: Outcome) -> bool:
        level = logging.INFO if outcome.error is None else logging.ERROR
        return self._task is not None and has_listeners(task_finished, level)

    def _finished(self, outcome: Outcome) -> AnyResult:
        if outcome.error is None:
            status = TaskResultStatus.SUCCESSFUL
            return self._ended(status, outcome.finished_at, return_value=self._plain)
        return self._ended(TaskResultStatus.FAILED, outcome.finished_at, error=outcome.error)

    def _send(self, signal: Signal, result: AnyResult) -> None:
        if project_listens(signal):
            self.has_told = True
            self._begin()
        try:
            signal.send_robust(self._sender, task_result=result)
        except BaseException as error:  # noqa: BLE001 - a receiver that exits must not end the thread
            events.emit(events.ReceiverExited(self._runner.config.alias, self.job.id, error))

    async def _asend(self, signal: Signal, result: AnyResult) -> None:
        if not project_listens(signal):
            # Django's own receiver only logs. Asynchronously it would cost each job a thread.
            self._send(signal, result)
            return
        self._begin()
        try:
            # Not asend_robust: on Django 6.0 that runs receivers where no exception is being handled,
            # and Django's log line of a failure then lacks its traceback.
            send = sync_to_async(signal.send_robust, thread_sensitive=True)
            await send(self._sender, task_result=result)
        except BaseException as error:  # noqa: BLE001 - as above
            events.emit(events.ReceiverExited(self._runner.config.alias, self.job.id, error))

    def _ended(
        self,
        status: TaskResultStatus,
        finished_at: datetime | None,
        *,
        return_value: Any = None,
        error: JobError | None = None,
    ) -> AnyResult:
        job = self.job
        args, kwargs = self._arguments()
        errors = task_errors(job.errors)
        if error is not None:
            errors.append(TaskError(exception_class_path=error[0], traceback=error[2]))
        return build_result(
            task=as_enqueued(
                self._task or stand_in(job.task_path, f"{job.task_path} was not imported"),
                priority=job.priority,
                queue_name=job.queue_name,
                run_after=job.scheduled_at,
                backend=self._runner.config.alias,
            ),
            job_id=job.id,
            status=status,
            enqueued_at=django_time(job.created_at),
            started_at=django_time(job.first_started_at or self.started_at),
            last_attempted_at=django_time(self.started_at),
            finished_at=django_time(finished_at),
            args=args,
            kwargs=kwargs,
            backend=self._runner.config.alias,
            errors=errors,
            worker_ids=[*(job.worker_ids or ()), self._runner.worker_name],
            return_value=return_value,
        )

    def _storable(self, value: Any) -> tuple[Any, str | None]:
        if value is None:
            return None, None
        options = self._runner.config.options
        try:
            plain, text = arguments.dump_return_value(value, rich=options.rich_arguments)
        except PayloadError as error:
            raise ReturnValueError(f"{self.job.task_path} returned normally, but {error}") from None
        limit = options.max_result_bytes
        if len(text) * 4 > limit and (size := len(text.encode())) > limit:
            raise ReturnValueError(
                f"{self.job.task_path} returned normally, but its return value takes {size} bytes as "
                f"JSON; OPTIONS['max_result_bytes'] allows {limit}"
            )
        return plain, text

    def _finished_at(self) -> datetime:
        return self.started_at + timedelta(seconds=time.monotonic() - self._began)

    @property
    def _sender(self) -> type:
        return type(task_backends[self._runner.config.alias])


def describe_error(error: BaseException) -> JobError:
    """*error* as it is stored. Never raises: an exception may fail even at being printed."""
    try:
        message = str(error)
    except BaseException as second:  # noqa: BLE001
        message = f"(its message cannot be shown: {type(second).__name__})"
    try:
        traceback = "".join(format_exception(error))
    except BaseException as second:  # noqa: BLE001
        traceback = f"(its traceback cannot be shown: {type(second).__name__})"
    return JobError(
        payload.printable(exception_path(error), max_characters=_MAX_CLASS_PATH),
        payload.printable(message, max_characters=_MAX_MESSAGE_CHARACTERS),
        payload.printable(traceback, max_characters=_MAX_TRACEBACK_CHARACTERS),
    )
