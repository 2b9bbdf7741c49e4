"""Why a job does not run: the gates that it has to pass, in the order in which it meets them.

The first closed one is the answer, with what opens it. A dozen small questions at most, none of which
costs more where there are more jobs. What is found is true of the moment: a job may run right after.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from dj_queue.config import BackendConfig, backend_config, configured_backend_aliases
from dj_queue.models import (
    BlockedExecution,
    ClaimedExecution,
    FailedExecution,
    Job,
    ReadyExecution,
    ScheduledExecution,
    Semaphore,
    SemaphoreHolder,
)
from dj_queue.reads.explanation import Explanation, aware, start_one, told
from dj_queue.reads.rate_waits import beyond_rate
from dj_queue.reads.ready_gates import ReadyGates

# Clocks that differ by more than this are worth a word.
_SKEW = timedelta(seconds=2)

# A job whose time came longer ago than this should have been made ready.
_LATE = timedelta(seconds=10)

_NAMED = 5


def explain(config: BackendConfig, job_id: UUID) -> Explanation:
    """The first closed gate of the job *job_id*, which is looked for on the database of *config*.

    The job may be of another backend.
    """
    job = Job.objects.using(config.options.database_alias).filter(id=job_id).first()
    if job is None:
        return Explanation(
            str(job_id),
            "unknown",
            _("There is no job with this id on the database %(database_alias)s.")
            % {"database_alias": repr(config.options.database_alias)},
            _(
                "Is it the right backend? The job may have ended and been cleared since (see "
                "OPTIONS['clear_finished_jobs_after'] and ['preserve_finished_jobs']), been "
                "discarded, or its transaction was rolled back or is still open."
            ),
        )
    if job.backend_alias in configured_backend_aliases():
        config = backend_config(job.backend_alias)
    return _Walk(config, job).first_closed()


class _Walk(ReadyGates):
    """The way of one job past the gates of its state."""

    def first_closed(self) -> Explanation:
        """The answer."""
        if self.job.backend_alias != self.config.alias:
            return self.closed(
                "unknown_backend",
                _("It belongs to backend %(backend_alias)s, which is not in TASKS here.")
                % {"backend_alias": repr(self.job.backend_alias)},
                _("Run workers whose settings have TASKS[%(backend_alias)s].")
                % {"backend_alias": repr(self.job.backend_alias)},
            )
        if self.job.finished_at is not None:
            ended = _("It ended well at %(finished_at)s.") % {
                "finished_at": told(self.job.finished_at)
            }
            return self.closed("finished", ended, "", state="finished")
        states: tuple[tuple[Any, Callable[[Any], Explanation]], ...] = (
            (ReadyExecution, self.ready),
            (ClaimedExecution, self._claimed),
            (ScheduledExecution, self._scheduled),
            (BlockedExecution, self._blocked),
            (FailedExecution, self._failed),
        )
        for model, look in states:
            row = model.objects.using(self.database).filter(job_id=self.job.id).first()
            if row is not None:
                return look(row)
        return self.closed(
            "no_state",
            _(
                "The job is in no state at all, so nobody will run it; it may be on its way "
                "between two."
            ),
            _(
                "Ask again. If it stays so: `manage.py dj_queue_health --deep` finds such "
                "jobs, and the job can be enqueued again."
            ),
        )

    def _failed(self, row: FailedExecution) -> Explanation:
        failed_at = told(row.created_at)
        if row.retry_at is None:
            return self.closed(
                "failed",
                _("Its last attempt failed with %(exception_class)s at %(failed_at)s.")
                % {"exception_class": row.exception_class, "failed_at": failed_at},
                _(
                    "Mend what is wrong and retry it: in the admin, or with "
                    "dj_queue.api.retry_failed_job."
                ),
                state="failed",
            )
        retry_at = aware(row.retry_at)
        return self._unless_late(
            retry_at,
            state="failed",
            code="retry_later",
            sentence=_(
                "Its last attempt failed with %(exception_class)s at %(failed_at)s, and it is "
                "tried again at %(retry_at)s."
            )
            % {
                "exception_class": row.exception_class,
                "failed_at": failed_at,
                "retry_at": told(row.retry_at),
            },
        )

    def _scheduled(self, row: ScheduledExecution) -> Explanation:
        due = aware(row.scheduled_at)
        seconds = (due - self.now).total_seconds()
        sentence = _("It is scheduled for %(due)s, in %(seconds)s s by the database's clock.") % {
            "due": told(due),
            "seconds": format(seconds, ".0f"),
        }
        host_now = datetime.now(UTC)
        if self.now < due <= host_now - _SKEW:
            ahead = (host_now - self.now).total_seconds()
            return self.closed(
                "clock_differs",
                _(
                    "%(sentence)s By the clock of this machine that time has come: the two "
                    "differ by %(ahead)s s, and the database's counts."
                )
                % {"sentence": sentence, "ahead": format(ahead, ".0f")},
                _("Have both machines keep time (NTP)."),
                state="scheduled",
                scheduled_at=due.isoformat(),
            )
        return self._unless_late(due, state="scheduled", code="scheduled", sentence=sentence)

    def _unless_late(self, due: datetime, *, state: str, code: str, sentence: str) -> Explanation:
        """Told by whoever makes due jobs ready: its time has not come, nobody does it, or it is near."""
        if due > self.now:
            return self.closed(code, sentence, "", state=state, due_at=due.isoformat())
        if (closed := self.without_dispatcher(state)) is not None:
            return closed
        if self.now - due <= _LATE:
            soon = _("Its time has come: it is ready in a moment.")
            return self.closed("due", soon, "", state=state)
        return self.closed(
            "dispatcher_behind",
            _("Its time came at %(due)s, and the dispatcher has not got to it yet.")
            % {"due": told(due)},
            _(
                "If that goes on: has the log of the leading process errors? A larger "
                "OPTIONS['dispatchers'][n]['batch_size'] helps with many jobs due at once."
            ),
            state=state,
        )

    def _blocked(self, row: BlockedExecution) -> Explanation:
        key = row.concurrency_key
        holders = SemaphoreHolder.in_use(self.database).filter(key=key)
        held = holders.count()
        semaphore = Semaphore.objects.using(self.database).filter(key=key).first()
        limit = semaphore.limit if semaphore is not None else self.job.concurrency_limit
        jobs = [str(job) for job in holders.values_list("job_id", flat=True)[:_NAMED] if job]
        details = {"concurrency_key": key, "limit": limit, "held": held, "held_by": jobs}
        if limit is not None and (free := limit - held) > 0:
            return self.without_dispatcher("blocked") or self.closed(
                "slot_free",
                _(
                    "It waits for a slot of %(key)s, and %(free)s of %(limit)s are free: it, "
                    "or one before it, gets one in a moment."
                )
                % {"key": repr(key), "free": free, "limit": limit},
                _(
                    "If that goes on, the dispatcher does not hand slots out: is "
                    "concurrency_maintenance off?"
                ),
                state="blocked",
                **details,
            )
        if semaphore is not None and semaphore.period is not None:
            sentence, remedy = beyond_rate(semaphore, holders, held)
            details |= {"period": semaphore.period}
            return self.without_dispatcher("blocked") or self.closed(
                "rate_limited", sentence, remedy, state="blocked", **details
            )
        holding = ", ".join(jobs) or _("hand")
        return self.closed(
            "blocked",
            _("It waits for a slot of %(key)s: %(held)s of %(limit)s are taken, by %(holding)s.")
            % {"key": repr(key), "held": held, "limit": limit, "holding": holding},
            _(
                "It goes on when one of those ends. A larger limit takes effect with the next "
                "job that is enqueued with it."
            ),
            state="blocked",
            **details,
        )

    def _claimed(self, row: ClaimedExecution) -> Explanation:
        owner = next((each for each in self.known() if each.id == row.process_id), None)
        if owner is not None and owner.is_live:
            since = told(row.started_at or row.created_at)
            return self.closed(
                "running",
                _("It runs since %(since)s, in %(name)s.") % {"since": since, "name": owner.name},
                "",
                state="claimed",
                process=owner.name,
            )
        return self.closed(
            "worker_lost",
            _("The process that claimed it is not registered.")
            if owner is None
            else _("The process that claimed it (%(name)s) gives no sign of life.")
            % {"name": owner.name},
            _(
                "Any living process of the backend recovers it after "
                "OPTIONS['process_alive_threshold'] (%(process_alive_threshold)s s). "
                "%(start_one)s"
            )
            % {
                "process_alive_threshold": format(self.config.options.process_alive_threshold, "g"),
                "start_one": start_one(),
            },
            state="claimed",
        )
