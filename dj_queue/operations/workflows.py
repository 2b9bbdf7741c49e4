"""Workflows: several tasks in sequence, each a job of its own, with a workspace that they share.

    steps[0] ──ends well──► steps[1] ──ends well──► ... ──► finished
       └─fails─► failed ──retry of the job──► the same step again

The hand-over is one transaction: it moves `position` on by one, keeps the workspace, and writes the job of
the next step. It happens when the task has returned and before that is recorded as the job's outcome. So
each step that is reached has exactly one job, and a process may die anywhere:

- before the hand-over, the step has not ended, and its job is recovered like any other;
- between hand-over and outcome, the next step has its job already. If the job of the former one is run
  again, by recovery or as a retry, it sees that its step is over, and ends well without calling the task.

Only the holder of the claim can hand over, so a process that was stopped and comes back too late cannot.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import transaction
from django.tasks import Task, task_backends
from django.utils import timezone

from dj_queue import payload
from dj_queue.config import BackendConfig, backend_config, configured_backend_aliases
from dj_queue.exceptions import EnqueueError, PayloadError, WorkflowError
from dj_queue.models import ClaimedExecution, Workflow
from dj_queue.operations.enqueue import storable_payload
from dj_queue.store.records import Claim
from dj_queue.typing import AnyTask

NOTE = "workflow"
"""The key of a job's payload that says which workflow and step it is: `[id, position]`."""

_workspace: ContextVar[dict[str, Any] | None] = ContextVar("dj_queue_workspace", default=None)


class Step(NamedTuple):
    """A task of a workflow with its arguments."""

    task: AnyTask
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}


def step(task: AnyTask, *args: Any, **kwargs: Any) -> Step:
    """*task* with arguments, as a step for `enqueue_steps`."""
    return Step(task, args, kwargs)


def enqueue_steps(
    steps: Sequence[AnyTask | Step], *, workspace: Mapping[str, Any] | None = None
) -> Workflow:
    """Have *steps* run one after the other: tasks without arguments, or what `step` makes.

    Each is a job of its own, enqueued when the one before has ended well, and shares *workspace*, which is
    plain JSON (see `current_workspace`). Written in the caller's transaction, like a job. A `run_after` that
    is a `timedelta` counts from the end of the step before.

    Raises `EnqueueError` for steps or a workspace that cannot be stored; nothing is written then.
    """
    config, checked = _checked(steps)
    database = config.options.database_alias
    workflow = Workflow(
        backend_alias=config.alias,
        steps=[_stored(config, each) for each in checked],
        workspace=storable_workspace(config, {} if workspace is None else workspace),
    )
    with transaction.atomic(using=database):
        workflow.job_ids = [_enqueue(workflow, 0, checked[0])]
        workflow.save(using=database, force_insert=True)
    return workflow


async def aenqueue_steps(
    steps: Sequence[AnyTask | Step], *, workspace: Mapping[str, Any] | None = None
) -> Workflow:
    """See `enqueue_steps`."""
    return await sync_to_async(enqueue_steps, thread_sensitive=True)(steps, workspace=workspace)


def move_on(
    database: str,
    workflow: Workflow,
    claim: Claim,
    *,
    position: int,
    workspace: dict[str, Any],
    following: Step | None,
) -> None:
    """End the step at *position*: keep *workspace*, and enqueue the *following* step, if there is one.

    One transaction. Raises `WorkflowError` when the step has
    ended before, or when the job is not ours under *claim* any more; nothing is written then.
    """
    now = timezone.now()
    rows = Workflow.objects.using(database).filter(pk=workflow.pk)
    with transaction.atomic(using=database):
        # The first statement writes: it is the lock, and SQLite does not let a reader become a writer.
        moved = rows.filter(position=position).update(
            position=position + 1,
            workspace=workspace,
            updated_at=now,
            finished_at=now if following is None else None,
        )
        if not moved or not _is_held(database, claim):
            raise WorkflowError(
                f"Step {position} of the workflow {workflow.pk} was ended by somebody else, or its job was "
                "taken away, while it ran here."
            )
        if following is not None:
            job_id = _enqueue(workflow, position + 1, following)
            rows.update(job_ids=[*workflow.job_ids[: position + 1], job_id])


def clear_finished_workflows(
    *, older_than: float | None = None, batch_size: int = 500, backend_alias: str = "default"
) -> int:
    """Delete up to *batch_size* workflows that ended longer ago than *older_than* seconds; how many.

    Without *older_than* `OPTIONS["clear_finished_jobs_after"]` counts, and without that nothing is deleted.
    """
    options = backend_config(backend_alias).options
    age = options.clear_finished_jobs_after if older_than is None else older_than
    if age is None:
        return 0
    workflows = Workflow.objects.using(options.database_alias)
    cutoff = timezone.now() - timedelta(seconds=age)
    ended = workflows.filter(backend_alias=backend_alias, finished_at__lt=cutoff)
    # MySQL takes no LIMIT in a subquery.
    oldest = list(ended.order_by("finished_at").values_list("pk", flat=True)[:batch_size])
    return workflows.filter(pk__in=oldest).delete()[0] if oldest else 0


def current_workspace() -> dict[str, Any]:
    """The workspace of the workflow whose step is running here, to be read and changed.

    What a step has changed is kept when it ends well. Raises `WorkflowError` outside of a step.
    """
    found = _workspace.get()
    if found is None:
        raise WorkflowError("There is a workspace only while a step of a workflow runs.")
    return found


@contextmanager
def using_workspace(workspace: dict[str, Any]) -> Iterator[None]:
    """Have `current_workspace` answer with *workspace* inside of the block."""
    token = _workspace.set(workspace)
    try:
        yield
    finally:
        _workspace.reset(token)


def storable_workspace(config: BackendConfig, workspace: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of *workspace* of plain JSON types; raises `PayloadError` if it cannot be stored."""
    if not isinstance(workspace, Mapping):
        raise EnqueueError(f"The workspace must be a mapping, not {workspace!r}")
    plain: dict[str, Any] = payload.normalize(workspace, name="workspace")
    size, limit = len(payload.dump(plain).encode()), config.options.max_payload_bytes
    if size > limit:
        raise PayloadError(
            f"the workspace takes {size} bytes as JSON; OPTIONS['max_payload_bytes'] allows {limit}"
        )
    return plain


def _is_held(database: str, claim: Claim) -> bool:
    held = ClaimedExecution.objects.using(database).select_for_update()
    return bool(held.filter(job_id=claim.id, token=claim.token).values_list("pk"))


def _enqueue(workflow: Workflow, position: int, step: Step) -> str:
    """Write the job of *step*; its id."""
    backend: Any = task_backends[workflow.backend_alias]
    # By the backend, like any job: so signals and hooks hear of it. It stands above this module.
    (result,) = backend.enqueue_with_notes([step], {NOTE: [str(workflow.pk), position]})
    return str(UUID(result.id))


def _checked(steps: Sequence[AnyTask | Step]) -> tuple[BackendConfig, list[Step]]:
    checked = [_as_step(each) for each in steps]
    if not checked:
        raise EnqueueError("A workflow needs at least one step.")
    aliases = list(dict.fromkeys(each.task.backend for each in checked))
    if len(aliases) > 1 or aliases[0] not in configured_backend_aliases():
        raise EnqueueError(
            "The steps of a workflow must be tasks of one backend of dj_queue, not of "
            + ", ".join(map(repr, aliases))
        )
    return backend_config(aliases[0]), checked


def _as_step(step: AnyTask | Step) -> Step:
    made = step if isinstance(step, Step) else Step(step)
    if not isinstance(made.task, Task):
        raise EnqueueError(f"A step must be a task, or made with Step(task, args), not {step!r}")
    return made


def _stored(config: BackendConfig, step: Step) -> dict[str, Any]:
    task = step.task
    return {
        "task_path": task.module_path,
        "queue_name": task.queue_name,
        "priority": int(task.priority),
        "run_after": _stored_time(task.run_after),
        "payload": storable_payload(config, step.args, step.kwargs),
    }


def _stored_time(run_after: datetime | timedelta | None) -> str | float | None:
    """A moment as text, and a delay in seconds, which count from the end of the step before."""
    if isinstance(run_after, timedelta):
        return run_after.total_seconds()
    return None if run_after is None else run_after.isoformat()
