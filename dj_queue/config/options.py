"""Every option of a backend: its name, default, type, unit and one line about it.

The settings reference in the documentation is made from these dataclasses, and `parse` reads settings into
them, so that an option exists in exactly one place.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from types import MappingProxyType
from typing import Any

from dj_queue.config import rates, recurring, values
from dj_queue.config.rates import RateLimitConfig
from dj_queue.config.recurring import RecurringTaskConfig, SchedulerConfig
from dj_queue.selectors import EVERYTHING, QueueSelection


def _option[T](default: T, reads: Callable[[Any, str], T], about: str) -> T:
    # dataclasses.field() is typed as what the field holds; the metadata is for parse and the reference.
    made: T = field(default=default, metadata={"reads": reads, "about": about})
    return made


# Annotated, because mypy takes the default alone for the type of an option that may also be None.
_A_DAY: float | None = 86_400.0
_A_WEEK: float | None = 604_800.0


@dataclass(frozen=True, slots=True)
class WorkerConfig(values.Configured):
    """One entry of `workers`: an actor that claims and runs jobs."""

    queues: QueueSelection = _option(
        EVERYTHING,
        values.queue_selection,
        "Queues to serve: names, `prefix*` or `*`; earlier ones first.",
    )
    threads: int = _option(
        3,
        values.whole_number(minimum=1),
        "Threads that run `def` tasks, and so the most of them at once.",
    )
    executor: str = _option(
        "thread",
        values.one_of("thread", "process"),
        "What runs jobs: `thread`, or `process` for as many child processes of low priority instead.",
    )
    async_concurrency: int = _option(
        100,
        values.whole_number(minimum=1),
        "The most `async def` tasks that run at once, on one event loop.",
    )
    processes: int = _option(
        1,
        values.whole_number(minimum=1),
        "Processes with this worker in fork mode; in threads always 1.",
    )
    polling_interval: float = _option(
        0.1,
        values.seconds(above_zero=True),
        "Seconds between looks for ready jobs where the database cannot wake the worker.",
    )
    prefetch_multiplier: int = _option(
        2,
        values.whole_number(minimum=1),
        "With 1, nothing is claimed before a thread is free for it; with more, some milliseconds of "
        "short jobs are: how many is measured.",
    )
    max_jobs: int | None = _option(
        None,
        values.optional(values.whole_number(minimum=1)),
        "Stand-alone: the most jobs that the worker runs before its process is replaced; "
        "with `process`, anywhere, that a child runs.",
    )
    max_rss: int | None = _option(
        None,
        values.optional(values.whole_number(minimum=1)),
        "Stand-alone: bytes of resident memory from which on the worker's process is replaced.",
    )
    max_age: float | None = _option(
        None,
        values.optional(values.seconds(above_zero=True)),
        "Stand-alone: seconds (and up to a tenth more) after which the worker's process is replaced.",
    )


@dataclass(frozen=True, slots=True)
class DispatcherConfig(values.Configured):
    """One entry of `dispatchers`: an actor that makes scheduled jobs ready when they are due."""

    batch_size: int = _option(
        500, values.whole_number(minimum=1), "The most jobs made ready in one transaction."
    )
    polling_interval: float = _option(
        1.0,
        values.seconds(above_zero=True),
        "Seconds between looks for due jobs where the database cannot wake the dispatcher.",
    )
    concurrency_maintenance: bool = _option(
        True,
        values.yes_or_no,
        "Whether the dispatcher looks after limits: jobs that a rate limit lets start, forgotten waiters, "
        "leaked slots.",
    )
    concurrency_maintenance_interval: float = _option(
        600.0,
        values.seconds(),
        "Seconds between looks for slots that leaked; 0 for each look for due jobs.",
    )


@dataclass(frozen=True, slots=True)
class AdminConfig(values.Configured):
    """The entry `admin`: what the dashboard shows and how."""

    redact: tuple[str, ...] = _option(
        (
            "password",
            "passwd",
            "passphrase",
            "secret",
            "token",
            "api_key",
            "apikey",
            "private_key",
            "access_key",
            "authorization",
            "credential",
            "cookie",
            "session",
        ),
        values.texts,
        "Values under a name that contains one of these words, in any case, are not shown.",
    )
    redact_with: Callable[..., object] | str | None = _option(
        None,
        values.callable_or_path,
        "Dotted path of a callable `(task_path, name, value) -> bool`: whether to hide a value, too.",
    )
    trace_url: str | None = _option(
        None,
        values.optional(values.text),
        "Link to a trace, with `{trace_id}` in it.",
    )
    bulk_queue: str = _option(
        "default",
        values.text,
        "The queue of the jobs that carry out actions on a great many jobs.",
    )


@dataclass(frozen=True, slots=True)
class TelemetryConfig(values.Configured):
    """The entry `telemetry`: what OpenTelemetry is told, once a project has set that up."""

    enabled: bool = _option(
        True,
        values.yes_or_no,
        "Whether there are spans and metrics at all; `telemetry: False` is short for it.",
    )
    correlation: str = _option(
        "link",
        values.one_of("link", "parent", "none"),
        "How the span of an execution refers to that of its enqueue: a new trace with a `link`, a "
        "`parent` in the same trace, or not at all (`none`: no trace is kept with the job).",
    )
    baggage: bool = _option(
        True, values.yes_or_no, "Whether baggage is kept with the job and can be read in the task."
    )
    span_name: str = _option(
        "queue",
        values.one_of("queue", "task"),
        "What stands in the names of spans: `process default`, or `process shop.tasks.send`.",
    )
    create_spans: bool = _option(
        False, values.yes_or_no, "Whether each job of a bulk enqueue has a span of its own."
    )
    trace_internals: bool = _option(
        False,
        values.yes_or_no,
        "Whether claims, promotions and recoveries of at least one job have spans.",
    )
    metrics_task_label: bool = _option(
        True, values.yes_or_no, "Whether metrics tell tasks apart, and not only queues."
    )


def _telemetry(found: Any, where: str) -> TelemetryConfig:
    if isinstance(found, bool):
        return TelemetryConfig(enabled=found)
    return values.record(TelemetryConfig, found, where)


@dataclass(frozen=True, slots=True)
class Options(values.Configured):
    """`TASKS[alias]["OPTIONS"]`."""

    mode: str = _option(
        "async",
        values.one_of("async", "fork"),
        "How `manage.py dj_queue` runs: `async` as threads of one process, `fork` in processes.",
    )
    workers: tuple[WorkerConfig, ...] = _option(
        (WorkerConfig(),),
        values.entries(WorkerConfig),
        "The workers; a list of mappings, or one mapping.",
    )
    dispatchers: tuple[DispatcherConfig, ...] = _option(
        (DispatcherConfig(),),
        values.entries(DispatcherConfig),
        "The dispatchers; a list of mappings, or one mapping.",
    )
    scheduler: SchedulerConfig = _option(
        SchedulerConfig(), recurring.scheduler, "The scheduler; a mapping."
    )
    recurring: tuple[RecurringTaskConfig, ...] = _option(
        (), recurring.entries, "Recurring tasks; a mapping from keys to entries."
    )
    database_alias: str = _option(
        "default", values.text, "The entry of `DATABASES` that holds the queue's tables."
    )
    preserve_finished_jobs: bool = _option(
        True,
        values.yes_or_no,
        "Whether jobs that ended well stay in the database with their result.",
    )
    clear_finished_jobs_after: float | None = _option(
        _A_DAY,
        values.optional(values.seconds()),
        "Seconds after which jobs that ended well are deleted; None keeps them.",
    )
    clear_failed_jobs_after: float | None = _option(
        None,
        values.optional(values.seconds()),
        "Seconds after which failed jobs are deleted; None keeps them.",
    )
    clear_recurring_executions_after: float | None = _option(
        None,
        values.optional(values.seconds()),
        "Seconds after which the records of what recurring tasks fired are deleted; None keeps them.",
    )
    use_skip_locked: bool = _option(
        True, values.yes_or_no, "Whether claims pass over locked rows, where the database can."
    )
    listen_notify: bool = _option(
        True, values.yes_or_no, "Whether workers are woken with LISTEN/NOTIFY on PostgreSQL."
    )
    silence_polling: bool = _option(
        True,
        values.yes_or_no,
        "Whether statements of the runtime itself are left out of Django's log of statements.",
    )
    max_payload_bytes: int = _option(
        1_048_576,
        values.whole_number(minimum=64),
        "The most bytes that a job's arguments take as JSON.",
    )
    max_result_bytes: int = _option(
        1_048_576,
        values.whole_number(minimum=64),
        "The most bytes that a task's return value takes as JSON.",
    )
    rich_arguments: bool = _option(
        False,
        values.yes_or_no,
        "Whether dates, times, decimals, UUIDs, enums and model instances may be arguments and results.",
    )
    async_thread_sensitive: bool = _option(
        True,
        values.yes_or_no,
        "Whether `aenqueue` and its like use the thread and the transaction of the caller's ORM, as Django "
        "does; with `False` another thread, and so another connection.",
    )
    async_close_connections: bool = _option(
        False,
        values.yes_or_no,
        "Whether that thread closes its connections after `aenqueue` and its like, unless in a transaction.",
    )
    default_concurrency_duration: float = _option(
        180.0,
        values.seconds(above_zero=True),
        "Seconds that an unused concurrency key is remembered, where its task does not say.",
    )
    rate_limits: Mapping[str, RateLimitConfig] = _option(
        MappingProxyType({}),
        rates.entries,
        "At most `to` jobs of a queue in `per` seconds: a mapping from its name to the two.",
    )
    process_heartbeat_interval: float = _option(
        60.0, values.seconds(above_zero=True), "Seconds between the signs of life of a process."
    )
    process_alive_threshold: float = _option(
        300.0,
        values.seconds(above_zero=True),
        "Seconds without a sign of life after which a process on another machine counts as lost.",
    )
    on_worker_lost: str = _option(
        "fail",
        values.one_of("fail", "requeue"),
        "What becomes of jobs that had begun when their process was lost.",
    )
    max_worker_losses: int = _option(
        3,
        values.whole_number(minimum=1),
        "Lost processes after which a job is not requeued any more but fails.",
    )
    embedded_processes: int | None = _option(
        None,
        values.optional(values.whole_number(minimum=1)),
        "The most web server processes of one machine that run jobs; by default all of them do.",
    )
    journal_directory: str | None = _option(
        None,
        values.optional(values.text),
        "Folder for the notes of what has begun; by default below the one for temporary files.",
    )
    statistics: bool = _option(
        True,
        values.yes_or_no,
        "Whether what has run is counted, by minute, queue and task, for metrics and charts.",
    )
    statistics_errors: int = _option(
        0,
        values.whole_number(minimum=0),
        "How many different classes of errors failed attempts are counted by, for metrics; further ones "
        "count as `other`. 0: failures are not counted by the class of their error.",
    )
    statistics_enqueued: bool = _option(
        False,
        values.yes_or_no,
        "Whether what is enqueued is counted, too: at most once in ten seconds by a statement of an enqueue.",
    )
    clear_statistics_after: float | None = _option(
        _A_WEEK,
        values.optional(values.seconds(above_zero=True)),
        "Seconds for which the counts of each minute are kept; totals always are.",
    )
    telemetry: TelemetryConfig = _option(
        TelemetryConfig(), _telemetry, "Spans and metrics; a mapping, or `False` for none."
    )
    admin: AdminConfig = _option(
        AdminConfig(), partial(values.record, AdminConfig), "The dashboard; a mapping."
    )
    shutdown_timeout: float = _option(
        5.0, values.seconds(), "Seconds that running jobs get to end when the runtime stops."
    )
    supervisor_pidfile: str | None = _option(
        None,
        values.optional(values.text),
        "Stand-alone: a file that holds the process id, locked as long as the process lives.",
    )
    on_thread_error: Callable[..., object] | str | None = _option(
        None,
        values.callable_or_path,
        "Dotted path of a callable that gets every error of the runtime itself.",
    )

    def as_dict(self) -> dict[str, Any]:
        """See `Configured.as_dict`; recurring tasks by their keys."""
        entries = {entry.key: entry.as_dict() for entry in self.recurring}
        for entry in entries.values():
            del entry["key"]
        return {**values.Configured.as_dict(self), "recurring": entries}


@dataclass(frozen=True, slots=True)
class BackendConfig(values.Configured):
    """All that is configured for one entry of `TASKS`, checked and with defaults filled in."""

    alias: str
    """The key in `TASKS`."""
    queues: frozenset[str]
    """`TASKS[alias]["QUEUES"]`; empty means that every queue name is allowed."""
    options: Options
    skip_recurring: bool = False
    """Whether this process leaves recurring tasks to others."""


def described_options(kind: type) -> list[tuple[str, Any, str]]:
    """Name, default and description of every option of a dataclass of this module, for the reference."""
    return [
        (each.name, each.default, each.metadata["about"])
        for each in fields(kind)
        if "about" in each.metadata
    ]
