"""For a project's tests: run jobs at once, travel to the time when they are due, see what was enqueued.

    from dj_queue.testing import assert_enqueued, run_jobs, travel

    class OrderTests(TestCase):
        def test_an_order_is_confirmed(self):
            place_order()

            assert_enqueued(send_mail, kwargs={"template": "thanks"})
            run_jobs()
            assert len(mail.outbox) == 1

Plain functions, for `unittest` and pytest alike. Everything happens in the calling thread, on its own
database connections: so it works inside of the transaction that a `TestCase` rolls back, and needs none.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, cast

from django.db import DatabaseError, connections
from django.tasks.base import Task
from django.tasks.signals import task_enqueued
from django.utils import timezone

from dj_queue.backend import DjQueueBackend
from dj_queue.config import BackendConfig, backend_config
from dj_queue.exceptions import DjQueueError
from dj_queue.models import Job
from dj_queue.operations.enqueue import storable_arguments
from dj_queue.operations.inline import InlineQueue
from dj_queue.reads.results import result_of_job
from dj_queue.runtime.clock import DatabaseClock
from dj_queue.runtime.executor import TaskRunner
from dj_queue.selectors import parse_selectors
from dj_queue.store.records import ClaimedJob, Outcome
from dj_queue.typing import AnyResult, AnyTask

__all__ = [
    "EnqueuedCall",
    "assert_enqueued",
    "assert_not_enqueued",
    "capture_enqueued",
    "enqueued",
    "run_jobs",
    "travel",
]

WORKER_NAME = "run_jobs"

_travelled = timedelta()


def run_jobs(
    queues: str | Iterable[str] | None = None,
    backend_alias: str = "default",
    until_empty: bool = True,
    *,
    limit: int = 10_000,
) -> list[AnyResult]:
    """Run the jobs that are ready in *queues* (selectors; None: all), best first; their results, in order.

    Scheduled jobs and retries that are due (see `travel`) run too, and jobs that waited for a slot when it
    is free. With *until_empty* so do jobs that these enqueue, until there is none. A task that raises
    fails its job, as ever: look at the results. What `transaction.on_commit` was given while a job ran is
    called after it, also in a transaction that is never committed.

    Raises `DjQueueError` when more than *limit* jobs would run: perhaps one enqueues itself.
    """
    runner = _InlineRunner(backend_config(backend_alias))
    selection = parse_selectors(queues)
    results: list[AnyResult] = []
    while True:
        runner.queue.prepare(_now())
        ready = runner.queue.ready(selection)
        # One by one: what a job enqueues may be better than what was ready before it.
        for key in ready[:1] if until_empty else ready:
            if len(results) == limit:
                raise DjQueueError(f"run_jobs: more than {limit} jobs; does one enqueue itself?")
            if (result := runner.run(key)) is not None:
                results.append(result)
        if not (until_empty and ready):
            return results


@contextmanager
def travel(to: datetime | timedelta) -> Iterator[None]:
    """Let `run_jobs` believe that it is *to*, or so much later than now, so that jobs become due.

    Inside of another `travel` a `timedelta` is added to that. Nobody else's clock is changed.
    """
    global _travelled
    before = _travelled
    _travelled = before + to if isinstance(to, timedelta) else _aware(to) - _aware(timezone.now())
    try:
        yield
    finally:
        _travelled = before


def enqueued(
    task: AnyTask | None = None, *, queue_name: str | None = None, backend_alias: str = "default"
) -> list[AnyResult]:
    """The results of all jobs of a backend, oldest first, whatever became of them; those of *task* only."""
    jobs = Job.objects.using(backend_config(backend_alias).options.database_alias)
    found = jobs.filter(backend_alias=backend_alias).order_by("pk")
    if task is not None:
        found = found.filter(task_path=task.module_path)
    if queue_name is not None:
        found = found.filter(queue_name=queue_name)
    return [
        result_of_job(job)
        for job in found.select_related("claimed_execution__process", "failed_execution")
    ]


def assert_enqueued(
    task: AnyTask,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    queue_name: str | None = None,
    count: int | None = 1,
    *,
    backend_alias: str | None = None,
) -> list[AnyResult]:
    """Fail unless *count* jobs of *task* were enqueued (None: any but none); their results.

    Where *args*, *kwargs* or *queue_name* are given, jobs that have others do not count. Jobs that have
    run count too. Without *backend_alias* it is that of *task*.
    """
    alias = backend_alias or task.backend
    config = backend_config(alias)
    candidates = enqueued(task, queue_name=queue_name, backend_alias=alias)
    found = [result for result in candidates if _matches(config, result, args, kwargs)]
    if (len(found) == count) if count is not None else found:
        return found
    wanted = "at least 1" if count is None else str(count)
    called = _described(task, args, kwargs, queue_name)
    others = "\n".join(f"  {_shown(result)}" for result in enqueued(backend_alias=alias))
    raise AssertionError(
        f"{called} was enqueued {len(found)} times, expected {wanted}. All jobs of backend {alias!r}:\n"
        + (others or "  (none)")
    )


def assert_not_enqueued(
    task: AnyTask,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    queue_name: str | None = None,
    *,
    backend_alias: str | None = None,
) -> None:
    """Fail if such a job was enqueued; see `assert_enqueued`."""
    assert_enqueued(task, args, kwargs, queue_name, count=0, backend_alias=backend_alias)


class EnqueuedCall(NamedTuple):
    """A job that was enqueued in a block, or waits for a commit to be."""

    task: AnyTask
    args: list[Any]
    kwargs: dict[str, Any]
    result: AnyResult | None
    """None for one of `enqueue_on_commit`, in a transaction that has not committed."""


@contextmanager
def capture_enqueued(*, execute: bool = False) -> Iterator[list[EnqueuedCall]]:
    """What this thread enqueues in the block, in order; of all backends of dj_queue.

    At the end of the block calls of `enqueue_on_commit` that still wait for their transaction are added.
    With *execute* everything that waits for a commit is called instead, as if there had been one.
    """
    calls: list[EnqueuedCall] = []
    thread = threading.get_ident()

    def hear(sender: type, task_result: AnyResult, **_: object) -> None:
        if issubclass(sender, DjQueueBackend) and threading.get_ident() == thread:
            result = task_result
            calls.append(EnqueuedCall(result.task, result.args, result.kwargs, result))

    waiting = _WaitingForCommits()
    task_enqueued.connect(hear, weak=False)
    try:
        yield calls
        if execute:
            waiting.call()
        else:
            calls += waiting.enqueues()
    finally:
        task_enqueued.disconnect(hear)


class _InlineRunner:
    """Runs one ready job after the other on this thread's connections."""

    def __init__(self, config: BackendConfig) -> None:
        self.queue = InlineQueue(config, WORKER_NAME)
        self._clock = DatabaseClock()
        self._connection = connections[config.options.database_alias]
        self._runner = TaskRunner(config, WORKER_NAME, self._clock, owns_connections=False)

    def run(self, key: int) -> AnyResult | None:
        """Run the job of the ready row *key*; its result, or None when it is not there any more."""
        self._clock.set(_now())
        job = self.queue.claim(key, self._clock.now())
        if job is None:
            return None
        waiting = _WaitingForCommits()
        recorded = self.queue.record(self._outcome(job))
        waiting.call()
        return None if recorded is None else result_of_job(recorded)

    def _outcome(self, job: ClaimedJob) -> Outcome:
        """Run *job*. In a transaction, an error of the database must not be the end of the whole test."""
        if not self._connection.in_atomic_block:
            return self._runner.run(job)
        before = cast("str", self._connection.savepoint())
        outcome = self._runner.run(job)
        is_broken = self._connection.needs_rollback
        with suppress(DatabaseError):
            if not is_broken:
                self._connection.savepoint_commit(before)
                return outcome
        # Of what the task has written nothing can be kept, though without the test's transaction it would be.
        self._connection.needs_rollback = False
        self._connection.savepoint_rollback(before)
        return outcome


class _WaitingForCommits:
    """What was given to `transaction.on_commit` since this was made, on any connection of the thread."""

    def __init__(self) -> None:
        self._before = {
            connection.alias: len(connection.run_on_commit)
            for connection in connections.all(initialized_only=True)
        }

    def call(self) -> None:
        """Call it, and what comes meanwhile, as if the transactions had committed."""
        while found := self._taken():
            for function, is_robust in found:
                try:
                    function()
                except Exception:
                    if not is_robust:
                        raise

    def enqueues(self) -> list[EnqueuedCall]:
        """Those that are calls of `enqueue_on_commit`; they go on waiting."""
        found = []
        for connection in connections.all(initialized_only=True):
            for entry in connection.run_on_commit[self._since(connection.alias) :]:
                function = entry[1]
                task = getattr(getattr(function, "func", None), "__self__", None)
                if isinstance(function, partial) and isinstance(task, Task):
                    args, kwargs = list(function.args), dict(function.keywords)
                    found.append(EnqueuedCall(task, args, kwargs, None))
        return found

    def _taken(self) -> list[tuple[Any, bool]]:
        found: list[tuple[Any, bool]] = []
        for connection in connections.all(initialized_only=True):
            since = self._since(connection.alias)
            # Savepoints, function, and whether its errors are only logged.
            entries: Any = connection.run_on_commit[since:]
            found += [(entry[1], entry[2]) for entry in entries]
            del connection.run_on_commit[since:]
        return found

    def _since(self, alias: str) -> int:
        return self._before.get(alias, 0)


def _now() -> datetime:
    return _aware(timezone.now()) + _travelled


def _aware(moment: datetime) -> datetime:
    if timezone.is_aware(moment):
        return moment
    return timezone.make_aware(moment, timezone.get_default_timezone())


def _matches(
    config: BackendConfig,
    result: AnyResult,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
) -> bool:
    # As they are after storing: a tuple is a list then.
    wanted_args, wanted_kwargs = storable_arguments(config, args or (), kwargs or {})
    return (args is None or result.args == list(wanted_args)) and (
        kwargs is None or result.kwargs == wanted_kwargs
    )


def _described(
    task: AnyTask,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    queue_name: str | None,
) -> str:
    given = {"args": args, "kwargs": kwargs, "queue_name": queue_name}
    said = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
    return f"{task.module_path}{f' with {said}' if said else ''}"


def _shown(result: AnyResult) -> str:
    task = result.task
    return (
        f"{task.module_path} args={result.args!r} kwargs={result.kwargs!r} in {task.queue_name!r}"
    )
