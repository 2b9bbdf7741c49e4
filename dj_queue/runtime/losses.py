"""What becomes of a job whose process ended while it ran: it fails, or it is tried again."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from django.db import Error, connections

from dj_queue import events
from dj_queue.config import BackendConfig
from dj_queue.exceptions import (
    ProcessExitError,
    ProcessMissingError,
    ProcessPrunedError,
    exception_path,
)
from dj_queue.operations.recover import requeue
from dj_queue.reads.tasks import is_imported, on_worker_lost
from dj_queue.runtime.connections import discard
from dj_queue.store.records import ClaimedJob, Outcome

_LOSSES = frozenset(
    map(exception_path, (ProcessExitError, ProcessMissingError, ProcessPrunedError))
)


# Makes a block of which a journal knows that a module is imported in it for the sake of jobs.
type Importing = Callable[[ClaimedJob], AbstractContextManager[object]]


def is_tried_again(config: BackendConfig, job: ClaimedJob, importing: Importing) -> bool:
    """Whether *job*, whose process was lost once more, goes back to ready.

    Its task is asked, and so imported.
    """
    with nullcontext() if is_imported(job.task_path) else importing(job):
        policy = on_worker_lost(job.task_path) or config.options.on_worker_lost
    if policy != "requeue":
        return False
    losses = sum(error["exception_class"] in _LOSSES for error in job.errors or ())
    return losses < config.options.max_worker_losses


def try_again(config: BackendConfig, worker_name: str, lost: Outcome, importing: Importing) -> bool:
    """Make the job of *lost* ready again if it may be; False when it is to be recorded as failed.

    For a loss within a process that lives on. Opens a connection for as long as it takes.
    """
    database = config.options.database_alias
    try:
        if not is_tried_again(config, lost.job, importing):
            return False
        requeued = requeue(database, config.alias, [(worker_name, lost)])
    except Error:
        # It may have happened all the same; then the failure finds no claim, and changes nothing.
        return False
    finally:
        discard(connections[database])
    if requeued:
        events.emit(events.AttemptsRecorded(config.alias, requeued))
        events.emit(events.JobsReady(database, config.alias, (lost.job.queue_name,)))
    return True
