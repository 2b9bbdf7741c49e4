"""`DjQueueBackend`: the door through which Django's tasks come in."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.core import checks
from django.db import close_old_connections, connections
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.base import TaskResultStatus
from django.tasks.signals import task_enqueued

from dj_queue import payload
from dj_queue.checks import check_backend
from dj_queue.config import BackendConfig, backend_config
from dj_queue.config.values import queue_names
from dj_queue.exceptions import ConfigurationError, InvalidEnqueue
from dj_queue.hooks import hooks_of
from dj_queue.operations.enqueue import Enqueued, TaskCall, due_time, enqueue_as, enqueue_one
from dj_queue.reads.results import build_result, get_result
from dj_queue.reads.tasks import as_enqueued
from dj_queue.signals import has_listeners
from dj_queue.states import DispatchOutcome
from dj_queue.store.shared import django_time
from dj_queue.typing import AnyResult, AnyTask

_MAX_QUEUE_NAME = 64


class DjQueueBackend(BaseTaskBackend):
    """Keeps jobs and their results in the database; see `TASKS[alias]["OPTIONS"]` for its options.

    Django makes one instance per thread, so nothing of the runtime lives here.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        # Django takes a missing QUEUES for "only default"; here no list means no restriction. What is
        # no list of names is told with its place by the system check, and when the backend is used.
        try:
            queues = queue_names(params.get("QUEUES"), "QUEUES")
        except ConfigurationError:
            queues = frozenset()
        super().__init__(alias, {**params, "QUEUES": queues})

    @property
    def config(self) -> BackendConfig:
        """What is configured for this backend; read at its first use, not when it is made."""
        return backend_config(self.alias)

    def validate_task(self, task: AnyTask) -> None:
        """Raise `InvalidTask` when *task* cannot be enqueued here."""
        name = task.queue_name
        if not _is_queue_name(name):
            raise InvalidEnqueue(
                f"queue_name must be text of 1 to {_MAX_QUEUE_NAME} characters, not {name!r}"
            )
        if self.queues and name not in self.queues:
            raise InvalidEnqueue(
                f"Queue {name!r} is not valid for backend {self.alias!r}: "
                f"TASKS[{self.alias!r}]['QUEUES'] has {', '.join(map(repr, sorted(self.queues)))}"
            )
        if not isinstance(task.priority, int) or not -100 <= task.priority <= 100:
            raise InvalidEnqueue(
                f"priority must be a whole number between -100 and 100, not {task.priority!r}"
            )
        if isinstance(task.run_after, timedelta):
            task = self._due(task)  # Django knows of dates and times only.
        super().validate_task(task)

    def enqueue(  # type: ignore[override] # the stubs tie it to the type of one task
        self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AnyResult:
        """Write a job at once, in the caller's transaction if there is one.

        Raises `EnqueueError` (and writes nothing) when the arguments cannot be stored.
        """
        self.validate_task(task)
        written = enqueue_one(self.config, self._due(task), args, kwargs)
        result = self._result(self._as_read(written.task), written)
        self._tell_enqueued((result,), (task.func,))
        return result

    def enqueue_all(self, task_calls: Iterable[TaskCall]) -> list[AnyResult]:
        """Write a job for each `(task, args, kwargs)`, all or none; results in the same order.

        All jobs are of this backend, whatever backend their tasks name.
        """
        return self.enqueue_with_notes(task_calls, None)

    def enqueue_with_notes(
        self, task_calls: Iterable[TaskCall], notes: Mapping[str, Any] | None
    ) -> list[AnyResult]:
        """Like `enqueue_all`; with each job *notes* are kept that are the library's own."""
        calls = list(task_calls)
        # One task is usually called many times; tasks are frozen, so each is looked at once.
        shown = {id(task): task for task, _, _ in calls}
        for task in shown.values():
            self.validate_task(task)
        if any(isinstance(task.run_after, timedelta) for task in shown.values()):
            due = {key: self._due(task) for key, task in shown.items()}
            calls = [(due[id(task)], args, kwargs) for task, args, kwargs in calls]
            shown = {id(task): task for task in due.values()}
        shown = {key: self._as_read(task) for key, task in shown.items()}
        results = enqueue_as(
            self.config,
            calls,
            lambda written: self._result(shown[id(written.task)], written),
            notes=notes,
        )
        self._tell_enqueued(results, {task.func for task in shown.values()})
        return results

    def _tell_enqueued(self, results: Sequence[AnyResult], functions: Iterable[object]) -> None:
        if has_listeners(task_enqueued, logging.DEBUG):
            for result in results:
                # Robust: the job is written, and a receiver that fails must not say otherwise.
                task_enqueued.send_robust(type(self), task_result=result)
        hooked = {function: found for function in functions if (found := hooks_of(function))}
        for result in results if hooked else ():
            if (found := hooked.get(result.task.func)) is not None:
                found.call_enqueued(result, self.alias)

    async def aenqueue(  # type: ignore[override] # as above
        self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AnyResult:
        """See `enqueue`. In which thread it writes is `OPTIONS["async_thread_sensitive"]`."""
        return await self._in_thread(self.enqueue, task, args, kwargs)

    async def aenqueue_all(self, task_calls: Iterable[TaskCall]) -> list[AnyResult]:
        """See `enqueue_all`."""
        return await self._in_thread(self.enqueue_all, task_calls)

    async def aget_result(self, result_id: str) -> AnyResult:
        """See `get_result`."""
        return await self._in_thread(self.get_result, result_id)

    def get_result(self, result_id: str) -> AnyResult:
        """The result with *result_id*; raises `TaskResultDoesNotExist`."""
        return get_result(self.config.options.database_alias, self.alias, result_id)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """System checks of this backend's configuration."""
        del kwargs
        return check_backend(self.alias)

    async def _in_thread[**P, R](
        self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        options = self.config.options

        def call() -> R:
            try:
                return function(*args, **kwargs)
            finally:
                if options.async_close_connections:
                    _close_connections()
                elif not options.async_thread_sensitive:
                    # It is one of a pool's, where no request's end looks after connections.
                    close_old_connections()

        return await sync_to_async(call, thread_sensitive=options.async_thread_sensitive)()

    def _due(self, task: AnyTask) -> AnyTask:
        """*task* with the moment that its `run_after` means, if that is counted from the enqueue."""
        if not isinstance(task.run_after, timedelta):
            return task
        return as_enqueued(
            task,
            priority=task.priority,
            queue_name=task.queue_name,
            run_after=due_time(task.run_after),
            backend=task.backend,
        )

    def _as_read(self, task: AnyTask) -> AnyTask:
        """*task* as it is read with a result: of the backend that has the job, its time as models give it."""
        run_after = django_time(task.run_after)
        if task.backend == self.alias and task.run_after is run_after:
            return task
        return as_enqueued(
            task,
            priority=task.priority,
            queue_name=task.queue_name,
            run_after=run_after,
            backend=self.alias,
        )

    def _result(self, task: AnyTask, written: Enqueued) -> AnyResult:
        """What Django shows of a job that was just written; *task* as `_as_read` returned it."""
        enqueued_at = django_time(written.created_at)
        is_over = written.outcome is DispatchOutcome.DISCARDED
        return build_result(
            task=task,
            job_id=written.job.id,
            status=TaskResultStatus.SUCCESSFUL if is_over else TaskResultStatus.READY,
            enqueued_at=enqueued_at,
            finished_at=enqueued_at if is_over else None,
            args=written.args,
            kwargs=written.kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def _is_queue_name(name: object) -> bool:
    return (
        isinstance(name, str)
        and 0 < len(name) <= _MAX_QUEUE_NAME
        and payload.is_storable_text(name)
    )
