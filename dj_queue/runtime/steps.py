"""A job that is a step of a workflow, while it runs; see `dj_queue.operations.workflows`."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from copy import deepcopy
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import connections

from dj_queue import arguments
from dj_queue.config import BackendConfig
from dj_queue.exceptions import WorkflowError
from dj_queue.models import Workflow
from dj_queue.operations.workflows import (
    NOTE,
    Step,
    move_on,
    storable_workspace,
    using_workspace,
)
from dj_queue.reads.tasks import as_enqueued, import_task
from dj_queue.store.records import ClaimedJob
from dj_queue.store.transactions import retried


class RunningStep:
    """What a step has beside its arguments: the workspace, and the step that follows."""

    def __init__(self, config: BackendConfig, job: ClaimedJob) -> None:
        """Read the workflow, with one query; raises `WorkflowError` when the job is no step of it now."""
        self._config = config
        self._job = job
        workflow_id, self._position = job.payload[NOTE]
        database = config.options.database_alias
        workflow = Workflow.objects.using(database).filter(pk=workflow_id).first()
        if workflow is None:
            raise WorkflowError(f"The workflow {workflow_id} of this job does not exist any more.")
        self._workflow = workflow
        self.is_over = workflow.position > self._position
        """Whether its end is recorded already, and the task must not be called once more."""
        if self.is_over and workflow.job_ids[self._position] != str(job.id):
            raise WorkflowError(
                f"This job is a copy of step {self._position} of the workflow {workflow_id}, "
                "which has ended."
            )
        # A copy: what a step that fails has changed must not be seen by anybody.
        self._workspace: dict[str, Any] = deepcopy(workflow.workspace)

    def workspace(self) -> AbstractContextManager[None]:
        """Have `current_workspace` answer inside of the block."""
        return using_workspace(self._workspace)

    def hand_over(self) -> None:
        """Record the end of this step and enqueue the next one, unless that was done before.

        Raises whatever keeps it from being done: the step has not ended then.
        """
        if self.is_over:
            return
        write = partial(
            move_on,
            self._config.options.database_alias,
            self._workflow,
            self._job.claim,
            position=self._position,
            workspace=storable_workspace(self._config, self._workspace),
            following=self._following(),
        )
        # Inside of somebody else's transaction a deadlock has taken back more than what is ours.
        is_nested = connections[self._config.options.database_alias].in_atomic_block
        write() if is_nested else retried(write)

    def _following(self) -> Step | None:
        steps = self._workflow.steps
        if self._position + 1 >= len(steps):
            return None
        return _step_of(self._config, steps[self._position + 1])


def _step_of(config: BackendConfig, stored: Mapping[str, Any]) -> Step:
    args, kwargs = arguments.restored(stored["payload"])
    task = as_enqueued(
        import_task(stored["task_path"]),
        priority=stored["priority"],
        queue_name=stored["queue_name"],
        run_after=_run_after(stored["run_after"]),  # type: ignore[arg-type] # Django does not know of timedeltas
        backend=config.alias,
    )
    return Step(task, args, kwargs)


def _run_after(stored: str | float | None) -> datetime | timedelta | None:
    if isinstance(stored, str):
        return datetime.fromisoformat(stored)
    return None if stored is None else timedelta(seconds=stored)
