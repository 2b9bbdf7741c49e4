"""What projects call besides Django's own task interface."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import transaction

from dj_queue import current
from dj_queue.config import backend_config, configured_backend_aliases
from dj_queue.ids import read_job_id
from dj_queue.operations.declared import recurring
from dj_queue.operations.enqueue import storable_arguments
from dj_queue.operations.jobs import (
    ClaimedJob,
    claim_ready_jobs,
    discard_blocked_jobs,
    discard_failed_job,
    discard_failed_jobs,
    discard_ready_jobs,
    discard_scheduled_jobs,
    execute_claimed_job,
    retry_failed_job,
    retry_failed_jobs,
    schedule_failed_job_retry,
)
from dj_queue.operations.nominal import nominal_time
from dj_queue.operations.policy import concurrency, limits_concurrency
from dj_queue.operations.rates import limits_rate
from dj_queue.operations.workflows import (
    aenqueue_steps,
    current_workspace,
    enqueue_steps,
    step,
)
from dj_queue.queues import QueueInfo, get_queue_depths
from dj_queue.reads import explain as reads_explain
from dj_queue.reads.explanation import Explanation
from dj_queue.recurring import (
    disable_recurring_task,
    enable_recurring_task,
    run_recurring_task_now,
    schedule_recurring_task,
    unschedule_recurring_task,
)
from dj_queue.states import LANES
from dj_queue.typing import AnyTask

__all__ = [
    "ClaimedJob",
    "Explanation",
    "QueueInfo",
    "aenqueue_steps",
    "claim_ready_jobs",
    "concurrency",
    "current_workspace",
    "disable_recurring_task",
    "discard_blocked_jobs",
    "discard_failed_job",
    "discard_failed_jobs",
    "discard_ready_jobs",
    "discard_scheduled_jobs",
    "enable_recurring_task",
    "enqueue_on_commit",
    "enqueue_steps",
    "execute_claimed_job",
    "executor",
    "explain",
    "get_queue_depths",
    "is_stopping",
    "limits_concurrency",
    "limits_rate",
    "nominal_time",
    "on_worker_lost",
    "recurring",
    "retry_failed_job",
    "retry_failed_jobs",
    "run_recurring_task_now",
    "schedule_failed_job_retry",
    "schedule_recurring_task",
    "step",
    "unschedule_recurring_task",
]


def enqueue_on_commit(task: AnyTask, *args: Any, using: str | None = None, **kwargs: Any) -> None:
    """Enqueue *task* when the current transaction on the database *using* commits; now if there is none.

    For queues on another database than the data: a job can then never see a world in which its
    transaction has not committed. Arguments are checked and copied now, where the error can still be
    seen. A parameter of the task that is called `using` cannot be passed.
    """
    # A project's tests may put another backend in our place, with rules of its own.
    if task.backend in configured_backend_aliases():
        args, kwargs = storable_arguments(backend_config(task.backend), args, kwargs)
    transaction.on_commit(partial(task.enqueue, *args, **kwargs), using=using)


def on_worker_lost[T](policy: str) -> Callable[[T], T]:
    """What becomes of this task's jobs when their process is lost while they run, above or below `@task`.

    `"fail"` records them as failed; `"requeue"` makes them ready again, at most
    `OPTIONS["max_worker_losses"]` times: only for tasks that may run twice. Overrules
    `OPTIONS["on_worker_lost"]`. Raises `ValueError` for any other *policy*.
    """
    if policy not in ("fail", "requeue"):
        raise ValueError(f"on_worker_lost: expected 'fail' or 'requeue', found {policy!r}")

    def decorate(task_or_function: T) -> T:
        function: Any = getattr(task_or_function, "func", task_or_function)
        function.on_worker_lost = policy
        return task_or_function

    return decorate


def executor[T](kind: str) -> Callable[[T], T]:
    """What runs this task's jobs, above or below `@task`.

    `"process"`: only workers with `"executor": "process"`, so that a job that computes for long does not
    hold up the requests of its process; where no such worker serves the queue, jobs wait. `"thread"`:
    never those. A task that names neither is run by both. Raises `ValueError` for any other *kind*.
    """
    if kind not in LANES:
        raise ValueError(f"executor: expected 'thread' or 'process', found {kind!r}")

    def decorate(task_or_function: T) -> T:
        function: Any = getattr(task_or_function, "func", task_or_function)
        function.dj_queue_executor = kind
        return task_or_function

    return decorate


def is_stopping() -> bool:
    """Whether the worker that runs the current job is about to stop: it claims nothing more.

    For tasks that take long and can end early: whatever still runs `OPTIONS["shutdown_timeout"]` seconds
    later is recorded as failed. Costs next to nothing, so ask often. False outside of jobs, and in
    threads that a task starts by itself, unless they run in a copy of its context.
    """
    running = current.running.get()
    return running is not None and running.is_stopping()


def explain(job_id: object, *, backend_alias: str = "default") -> Explanation:
    """Why the job with *job_id* (an id, its text, a job or a result) does not run, and what would help.

    Looks on the database of *backend_alias*. The cost does not depend on how many jobs there are. Raises
    `ValueError` for what is no id.
    """
    return reads_explain.explain(backend_config(backend_alias), read_job_id(job_id))
