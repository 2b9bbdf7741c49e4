"""Log records from events: one sentence each, with flat fields for machines.

Arguments and results of tasks are never logged. Django itself logs the start and the end of each task on
the logger `django.tasks`, a failure with its traceback; the line about a failure here is about its job,
when that is recorded, and has none.
"""

import logging
import time

from dj_queue import events
from dj_queue.telemetry import (
    hearing_logs,
    job_logs,
    limit_logs,
    queue_logs,
    recurring_logs,
    silence,
)
from dj_queue.telemetry.fields import extra as _extra

_worker = logging.getLogger("dj_queue.worker")
_dispatcher = logging.getLogger("dj_queue.dispatcher")
_supervisor = logging.getLogger("dj_queue.supervisor")
_job = logging.getLogger("dj_queue.job")
_leadership = logging.getLogger("dj_queue.leadership")

# An error that goes on is told at once and then once a minute, with the count.
_REPEAT_SECONDS = 60.0

_last_told: dict[str, float] = {}


def listen() -> bool:
    """Subscribe to the events that are worth a line; False when that was done before."""
    if events.is_wanted(events.SupervisorStarted):
        return False
    events.subscribe(events.SupervisorStarted, _supervisor_started)
    events.subscribe(events.SupervisorStopped, _supervisor_stopped)
    events.subscribe(events.ProcessUsedUp, _process_used_up)
    events.subscribe(events.ChildStarted, _child_started)
    events.subscribe(events.ChildEnded, _child_ended)
    events.subscribe(events.ChildReplaced, _child_replaced)
    events.subscribe(events.ChildKilled, _child_killed)
    events.subscribe(events.ActorFailed, _actor_failed)
    events.subscribe(events.ActorRecovered, _actor_recovered)
    hearing_logs.listen()
    job_logs.listen()
    events.subscribe(events.JobsReleased, _jobs_released)
    events.subscribe(events.JobsPromoted, _jobs_promoted)
    silence.listen()
    queue_logs.listen()
    limit_logs.listen()
    recurring_logs.listen()
    events.subscribe(events.LeadershipGained, _leadership_gained)
    events.subscribe(events.LeadershipLost, _leadership_lost)
    events.subscribe(events.OutcomeRejected, _outcome_rejected)
    events.subscribe(events.HookFailed, _hook_failed)
    events.subscribe(events.ConnectionsScarce, _connections_scarce)
    events.subscribe(events.ProcessRecovered, _process_recovered)
    events.subscribe(events.JournalUnavailable, _journal_unavailable)
    events.subscribe(events.TransactionLeakFound, _transaction_leaked)
    events.subscribe(events.ReceiverExited, _receiver_exited)
    return True


def _supervisor_started(event: events.SupervisorStarted) -> None:
    _supervisor.info(
        "Running jobs of backend %s as %s.",
        event.backend,
        event.process,
        extra=_extra("supervisor.started", backend=event.backend, process=event.process),
    )


def _supervisor_stopped(event: events.SupervisorStopped) -> None:
    _supervisor.log(
        logging.WARNING if event.abandoned else logging.INFO,
        "Stopped running jobs of backend %s as %s; %d did not end in time.",
        event.backend,
        event.process,
        event.abandoned,
        extra=_extra(
            "supervisor.stopped",
            backend=event.backend,
            process=event.process,
            abandoned=event.abandoned,
        ),
    )


def _process_used_up(event: events.ProcessUsedUp) -> None:
    _supervisor.info(
        "%s of backend %s is to be replaced after %s.",
        event.process,
        event.backend,
        event.reason,
        extra=_extra(
            "process.used_up", backend=event.backend, process=event.process, reason=event.reason
        ),
    )


def _child_started(event: events.ChildStarted) -> None:
    _supervisor.info(
        "Child %s of backend %s runs as pid %d.",
        event.child,
        event.backend,
        event.pid,
        extra=_extra("child.started", backend=event.backend, child=event.child, pid=event.pid),
    )


def _child_ended(event: events.ChildEnded) -> None:
    _supervisor.error(
        "Child %s (pid %d) of backend %s ended after %.1f s %s; another one starts in %g s.",
        event.child,
        event.pid,
        event.backend,
        event.lived.total_seconds(),
        event.how,
        event.restart_in.total_seconds(),
        extra=_extra(
            "child.ended", backend=event.backend, child=event.child, pid=event.pid, how=event.how
        ),
    )


def _child_replaced(event: events.ChildReplaced) -> None:
    _supervisor.info(
        "Child %s (pid %d) of backend %s was used up and is replaced.",
        event.child,
        event.pid,
        event.backend,
        extra=_extra("child.replaced", backend=event.backend, child=event.child, pid=event.pid),
    )


def _child_killed(event: events.ChildKilled) -> None:
    _supervisor.error(
        "Child %s (pid %d) of backend %s did not stop in time and was killed; "
        "jobs that ran in it are left to recovery.",
        event.child,
        event.pid,
        event.backend,
        extra=_extra("child.killed", backend=event.backend, child=event.child, pid=event.pid),
    )


def _actor_failed(event: events.ActorFailed) -> None:
    now = time.monotonic()
    if event.failures > 1 and now - _last_told.get(event.actor, 0.0) < _REPEAT_SECONDS:
        return
    _last_told[event.actor] = now
    _supervisor.error(
        "%s failed (%d in a row) and tries again in %.2f s: %s",
        event.actor,
        event.failures,
        event.retry_in.total_seconds(),
        event.error,
        exc_info=event.error if event.failures <= 1 else None,
        extra=_extra(
            "dj_queue.thread_error",
            backend=event.backend,
            actor=event.actor,
            error_type=type(event.error).__name__,
            failures=event.failures,
        )
        | {
            "thread_error_context": event.actor,
            "thread_error_type": type(event.error).__name__,
        },
    )


def _actor_recovered(event: events.ActorRecovered) -> None:
    _last_told.pop(event.actor, None)
    _supervisor.warning(
        "%s works again after %d failures.",
        event.actor,
        event.failures,
        extra=_extra("actor.recovered", backend=event.backend, actor=event.actor),
    )


def _jobs_released(event: events.JobsReleased) -> None:
    _worker.info(
        "%d claimed jobs of backend %s went back to ready unstarted: %s.",
        event.count,
        event.backend,
        event.reason,
        extra=_extra(
            "jobs.released", backend=event.backend, count=event.count, reason=event.reason
        ),
    )


def _jobs_promoted(event: events.JobsPromoted) -> None:
    _dispatcher.debug(
        "%d scheduled jobs of backend %s became ready.",
        event.count,
        event.backend,
        extra=_extra("jobs.promoted", backend=event.backend, count=event.count),
    )


def _leadership_gained(event: events.LeadershipGained) -> None:
    _leadership.info(
        "%s leads as %s of backend %s, in term %d.",
        event.process,
        event.role,
        event.backend,
        event.term,
        extra=_extra(
            "leadership.gained",
            backend=event.backend,
            role=event.role,
            process=event.process,
            term=event.term,
        ),
    )


def _leadership_lost(event: events.LeadershipLost) -> None:
    _leadership.info(
        "%s leads no longer as %s of backend %s after term %d: %s.",
        event.process,
        event.role,
        event.backend,
        event.term,
        event.reason,
        extra=_extra(
            "leadership.lost",
            backend=event.backend,
            role=event.role,
            process=event.process,
            term=event.term,
            reason=event.reason,
        ),
    )


def _outcome_rejected(event: events.OutcomeRejected) -> None:
    _job.warning(
        "Job %s ended here, but it belongs to another process by now; nothing was recorded.",
        event.job_id,
        extra=_extra("outcome.rejected", backend=event.backend, job_id=str(event.job_id)),
    )


def _hook_failed(event: events.HookFailed) -> None:
    _supervisor.error(
        "A hook of %s failed: %s",
        event.hook,
        event.error,
        exc_info=event.error,
        extra=_extra(
            "dj_queue.thread_error",
            backend=event.backend,
            context=f"hook:{event.hook}",
            error_type=type(event.error).__name__,
        )
        | {
            "thread_error_context": f"hook:{event.hook}",
            "thread_error_type": type(event.error).__name__,
        },
    )


def _connections_scarce(event: events.ConnectionsScarce) -> None:
    _supervisor.warning(
        "Backend %s may open %d connections in this process; the database server has %d of at most %d "
        "already. Use fewer threads or processes, a larger limit, or a connection pooler.",
        event.backend,
        event.needed,
        event.used,
        event.limit,
        extra=_extra(
            "connection_budget.warning",
            backend=event.backend,
            needed=event.needed,
            used=event.used,
            limit=event.limit,
        ),
    )


def _process_recovered(event: events.ProcessRecovered) -> None:
    _supervisor.warning(
        "The process %s of backend %s was lost: %d jobs went back to ready unstarted, %d are tried again, "
        "%d failed with %s.",
        event.process or "(unknown)",
        event.backend,
        event.released,
        event.requeued,
        event.failed,
        event.reason,
        extra=_extra(
            "process.pruned",
            backend=event.backend,
            process=event.process,
            released=event.released,
            requeued=event.requeued,
            failed=event.failed,
            error_type=event.reason,
        ),
    )


def _journal_unavailable(event: events.JournalUnavailable) -> None:
    _supervisor.warning(
        "Backend %s keeps no journal here (%s): should this process be killed, jobs that it had claimed and "
        "not begun are treated as begun. OPTIONS['journal_directory'] names another folder.",
        event.backend,
        event.error,
        extra=_extra("journal.unavailable", backend=event.backend),
    )


def _transaction_leaked(event: events.TransactionLeakFound) -> None:
    _job.error(
        "Job %s (%s) left a transaction open on database %s; it was rolled back.",
        event.job_id,
        event.task_path,
        event.database,
        extra=_extra(
            "transaction.leaked",
            backend=event.backend,
            job_id=str(event.job_id),
            task=event.task_path,
            database=event.database,
        ),
    )


def _receiver_exited(event: events.ReceiverExited) -> None:
    _job.error(
        "A receiver of a task signal raised %s during job %s; it was ignored.",
        type(event.error).__name__,
        event.job_id,
        exc_info=event.error,
        extra=_extra("receiver.exited", backend=event.backend, job_id=str(event.job_id)),
    )
