"""Counters and histograms, fed by events and by enqueues.

Every process measures what it does itself: who enqueues counts what is sent, the process of a worker what it
claimed and what ended, that of its child processes included. Ids are never attributes.
"""

from collections import Counter as Tally
from collections.abc import Sequence
from datetime import timedelta
from functools import cache

from opentelemetry.metrics import Meter

from dj_queue import events
from dj_queue.config import BackendConfig, backend_config
from dj_queue.exceptions import exception_path
from dj_queue.store.records import ClaimedJob, NewJob, Outcome
from dj_queue.telemetry import conventions as names
from dj_queue.telemetry import providers
from dj_queue.telemetry.attempt_spans import outcome_name, waited
from dj_queue.telemetry.attributes import Attributes, only

_SECOND = timedelta(seconds=1)


class Instruments:
    """The instruments of one meter."""

    def __init__(self, meter: Meter) -> None:
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Jobs that were enqueued or scheduled"
        )
        self._operation_duration = meter.create_histogram(
            "messaging.client.operation.duration",
            "s",
            "How long enqueues and claims took",
            explicit_bucket_boundaries_advisory=names.BUCKETS,
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Jobs that were claimed"
        )
        self._process_duration = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "How long attempts of jobs took",
            explicit_bucket_boundaries_advisory=names.LONG_BUCKETS,
        )
        self._wait_duration = meter.create_histogram(
            "dj_queue.job.wait.duration",
            "s",
            "From when a job could run to its first attempt",
            explicit_bucket_boundaries_advisory=names.WAIT_BUCKETS,
        )
        self._retries = meter.create_counter(
            "dj_queue.job.retries", "{job}", "Failed jobs that are tried again"
        )
        self._recovered = meter.create_counter(
            "dj_queue.job.recovered", "{job}", "Jobs that lost processes had claimed"
        )
        self._dispatched = meter.create_counter(
            "dj_queue.jobs.dispatched", "{job}", "Scheduled jobs that became due"
        )
        self._fires = meter.create_counter(
            "dj_queue.recurring.fires", "{job}", "Jobs of recurring tasks that were enqueued"
        )

        self._active = meter.create_up_down_counter(
            "dj_queue.job.active", "{job}", "Jobs that run in this process"
        )

    def active(self, config: BackendConfig, queue: str, change: int) -> None:
        """A job began to run in this process (1) or ended (-1)."""
        self._active.add(change, {names.BACKEND: config.alias, names.DESTINATION: queue})

    def sent(
        self,
        config: BackendConfig,
        operation: str,
        jobs: Sequence[NewJob],
        seconds: float,
        error: BaseException | None,
    ) -> None:
        """*jobs* were written, or were not because of *error*, in one call that took so long."""
        failed = (
            {} if error is None else {names.ERROR_TYPE: names.error_type(exception_path(error))}
        )
        for (queue, task), count in Tally((job.queue_name, job.task_path) for job in jobs).items():
            self._sent.add(count, {**_about(config, operation, queue, task), **failed})
        shared = only(job.queue_name for job in jobs)
        self._operation_duration.record(seconds, {**_about(config, operation, shared), **failed})

    def claimed(
        self, config: BackendConfig, jobs: Sequence[ClaimedJob], seconds: float | None
    ) -> None:
        """*jobs* were claimed, by a request of their own where it took *seconds*."""
        for (queue, task), count in Tally((job.queue_name, job.task_path) for job in jobs).items():
            self._consumed.add(count, _about(config, "claim", queue, task))
        if seconds is not None:
            shared = only(job.queue_name for job in jobs)
            self._operation_duration.record(seconds, _about(config, "claim", shared))

    def ended(self, config: BackendConfig, attempts: Sequence[Outcome]) -> None:
        """Attempts ended, and that is recorded."""
        for outcome in attempts:
            job = outcome.job
            about = _about(config, "process", job.queue_name, job.task_path)
            if not job.worker_ids:
                self._wait_duration.record(waited(outcome) / _SECOND, about)
            how: Attributes = {names.OUTCOME: outcome_name(outcome)}
            if outcome.error is not None:
                how[names.ERROR_TYPE] = names.error_type(outcome.error.exception_class)
            seconds = (outcome.finished_at - outcome.started_at) / _SECOND
            self._process_duration.record(max(0.0, seconds), about | how)

    def retried(self, backend: str, queues: Sequence[str]) -> None:
        """Failed jobs of these queues, one for each, are tried again."""
        for queue, count in Tally(queues).items():
            self._retries.add(count, {names.BACKEND: backend, names.DESTINATION: queue})

    def dispatched(self, backend: str, count: int) -> None:
        """Scheduled jobs became due."""
        self._dispatched.add(count, {names.BACKEND: backend})

    def recovered(self, backend: str, outcome: str, count: int) -> None:
        """What a lost process had claimed is settled."""
        if count:
            self._recovered.add(count, {names.BACKEND: backend, names.OUTCOME: outcome})

    def fired(self, backend: str, key: str) -> None:
        """A recurring task was enqueued."""
        self._fires.add(1, {names.BACKEND: backend, names.RECURRING_KEY: key})


def current() -> Instruments | None:
    """The instruments that are read by somebody; None when there are none."""
    meter = providers.meter()
    return None if meter is None else _instruments_of(meter)


def listen() -> None:
    """Measure what events tell from now on."""
    events.subscribe(events.JobsClaimed, _claimed)
    events.subscribe(events.AttemptsRecorded, _ended)
    events.subscribe(events.JobsRetried, _retried)
    events.subscribe(events.JobsPromoted, _promoted)
    events.subscribe(events.ProcessRecovered, _recovered)
    events.subscribe(events.RecurringTaskFired, _fired)


@cache
def _instruments_of(meter: Meter) -> Instruments:
    return Instruments(meter)


def _about(
    config: BackendConfig, operation: str, queue: str | None, task: str | None = None
) -> Attributes:
    found: Attributes = {
        names.SYSTEM: names.SYSTEM_NAME,
        names.OPERATION: operation,
        names.BACKEND: config.alias,
    }
    if queue is not None:
        found[names.DESTINATION] = queue
    if task is not None and config.options.telemetry.metrics_task_label:
        found[names.TASK] = task
    return found


def _wanted(backend: str) -> tuple[Instruments, BackendConfig] | None:
    """What to measure with, and how *backend* is configured; None when nothing is to be measured."""
    instruments = current()
    if instruments is None:
        return None
    config = backend_config(backend)
    return (instruments, config) if config.options.telemetry.enabled else None


def _claimed(event: events.JobsClaimed) -> None:
    if (wanted := _wanted(event.backend)) is not None:
        instruments, config = wanted
        instruments.claimed(config, event.jobs, event.seconds)


def _ended(event: events.AttemptsRecorded) -> None:
    if (wanted := _wanted(event.backend)) is not None:
        instruments, config = wanted
        instruments.ended(config, event.attempts)


def _retried(event: events.JobsRetried) -> None:
    if (wanted := _wanted(event.backend)) is not None:
        wanted[0].retried(event.backend, event.queues)


def _promoted(event: events.JobsPromoted) -> None:
    if (wanted := _wanted(event.backend)) is not None:
        wanted[0].dispatched(event.backend, event.count)


def _recovered(event: events.ProcessRecovered) -> None:
    if (wanted := _wanted(event.backend)) is not None:
        for outcome in ("released", "requeued", "failed"):
            wanted[0].recovered(event.backend, outcome, getattr(event, outcome))


def _fired(event: events.RecurringTaskFired) -> None:
    if (wanted := _wanted(event.backend)) is not None:
        wanted[0].fired(event.backend, event.key)
