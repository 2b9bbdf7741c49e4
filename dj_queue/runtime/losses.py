"""What becomes of a job whose process ended while it ran: it fails, or it is tried again."""

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
from dj_queue.reads.tasks import on_worker_lost
from dj_queue.runtime.connections import discard
from dj_queue.store.records import ClaimedJob, Outcome

_LOSSES = frozenset(
    map(exception_path, (ProcessExitError, ProcessMissingError, ProcessPrunedError))
)


def is_tried_again(config: BackendConfig, job: ClaimedJob) -> bool:
    """Whether *job*, whose process was lost once more, goes back to ready."""
    if (on_worker_lost(job.task_path) or config.options.on_worker_lost) != "requeue":
        return False
    losses = sum(error["exception_class"] in _LOSSES for error in job.errors or ())
    return losses < config.options.max_worker_losses


def try_again(config: BackendConfig, worker_name: str, lost: Outcome) -> bool:
    """Make the job of *lost* ready again if it may be; False when it is to be recorded as failed.

    For a loss within a process that lives on. Opens a connection for as long as it takes.
    """
    database = config.options.database_alias
    try:
        if not is_tried_again(config, lost.job):
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
