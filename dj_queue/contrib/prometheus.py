"""Metrics for Prometheus: gauges of what there is, counters and histograms of what has run.

`DjQueueCollector` asks the database when it is scraped, and nothing at any other time, so any process that
reaches the database can be the one that is scraped, and only one should be. Counters and histograms come
from the table of statistics: they go on through restarts, and are the same wherever they are read.

Without prometheus-client (`pip install "dj-queue[prometheus]"`) all three names are None.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dj_queue.config import BackendConfig
    from dj_queue.reads.stats import BackendSnapshot
    from dj_queue.reads.throughput import Histogram, Throughput

__all__ = ["DjQueueCollector", "generate_latest", "registry"]

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client import generate_latest as _generate_latest
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        InfoMetricFamily,
        Metric,
    )
except ImportError:
    _is_there = False
else:
    _is_there = True

INSTALL_HINT = 'prometheus-client is not installed: pip install "dj-queue[prometheus]"'


_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = "application/openmetrics-text"


def exposition(accept: str) -> tuple[bytes, str]:
    """All metrics and their content type: OpenMetrics where *accept*, a request's header, names it.

    Raises `RuntimeError` without prometheus-client.
    """
    if registry is None:
        raise RuntimeError(INSTALL_HINT)
    if _OPENMETRICS in accept:
        from prometheus_client.openmetrics import exposition as openmetrics

        encode: Any = openmetrics.generate_latest
        return encode(registry), openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(registry), _TEXT


class _Families:
    """The metrics of one scrape, by name, in the order in which they come."""

    def __init__(self) -> None:
        self._found: dict[str, Metric] = {}

    def gauge(self, name: str, about: str, value: float, **labels: str) -> None:
        """Add a sample of a gauge."""
        family = self._family(GaugeMetricFamily, name, about, labels)
        family.add_metric([*labels.values()], value)

    def counter(self, name: str, about: str, value: float, **labels: str) -> None:
        """Add a sample of a counter; *name* without `_total`."""
        family = self._family(CounterMetricFamily, name, about, labels)
        family.add_metric([*labels.values()], value)

    def histogram(self, name: str, about: str, value: "Histogram", **labels: str) -> None:
        """Add the samples of a histogram."""
        family = self._family(HistogramMetricFamily, name, about, labels)
        family.add_metric([*labels.values()], _cumulated(value.counts), sum_value=value.seconds)

    def info(self, name: str, about: str, **values: str) -> None:
        """Add a sample of facts; *name* without `_info`."""
        self._family(InfoMetricFamily, name, about, {}).add_metric([], values)

    def __iter__(self) -> Iterator["Metric"]:
        return iter(self._found.values())

    def _family(self, kind: Any, name: str, about: str, labels: dict[str, str]) -> Any:
        if name not in self._found:
            self._found[name] = kind(name, about, labels=[*labels])
        return self._found[name]


class _Collector:
    """Collects from every backend of dj_queue in `TASKS` whenever it is asked.

    What cannot be collected, because the database does not answer, is left out; `dj_queue_up` is 0 then.
    """

    def describe(self) -> Iterable["Metric"]:
        """Nothing: registering must not ask the database."""
        return ()

    def collect(self) -> Iterator["Metric"]:
        """One scrape."""
        from django.db import Error

        from dj_queue.config import backend_config, configured_backend_aliases

        families = _Families()
        _build_info(families)
        databases: set[str] = set()
        for alias in configured_backend_aliases():
            began = time.perf_counter()
            is_up = True
            try:
                _collect(families, backend_config(alias), databases)
            except Error:
                is_up = False
            families.gauge("dj_queue_up", "Whether the database answered.", is_up, backend=alias)
            families.gauge(
                "dj_queue_scrape_duration_seconds",
                "How long it took to collect the metrics of a backend.",
                time.perf_counter() - began,
                backend=alias,
            )
        yield from families


def _collect(families: _Families, config: "BackendConfig", databases: set[str]) -> None:
    from dj_queue.reads import occurrences, stats, throughput

    taken = stats.snapshot(config)
    totals = throughput.totals(taken.database_alias, taken.backend_alias)
    _queues(families, taken)
    _processes(families, taken)
    _failures(families, taken)
    _recurring(families, taken)
    if taken.database_alias not in databases:
        databases.add(taken.database_alias)
        _semaphores(families, taken)
    _attempts(families, taken.backend_alias, totals)
    if most_errors := config.options.statistics_errors:
        counted = occurrences.failures(taken.database_alias, taken.backend_alias, most_errors)
        _failures_by_error(families, taken.backend_alias, counted)
    if config.options.statistics_enqueued:
        for (queue, task), number in occurrences.enqueued(
            taken.database_alias, taken.backend_alias
        ).items():
            families.counter(
                "dj_queue_jobs_enqueued",
                "Jobs that were enqueued; with OPTIONS['statistics_enqueued'].",
                number,
                backend=taken.backend_alias,
                queue=queue,
                task=task,
            )
    for key, number in occurrences.missed(taken.database_alias, taken.backend_alias).items():
        families.counter(
            "dj_queue_recurring_missed",
            "How often times of a recurring task had passed and were not made up.",
            number,
            backend=taken.backend_alias,
            key=key,
        )


def _queues(families: _Families, taken: "BackendSnapshot") -> None:
    from dj_queue.states import JobState

    for queue in taken.queues:
        labels = {"backend": taken.backend_alias, "queue": queue.name}
        for state in JobState:
            families.gauge(
                "dj_queue_queue_jobs",
                "Jobs in each state. Above 10000 an estimate; finished: all that ended well since "
                "statistics are kept.",
                getattr(queue, state),
                **labels,
                state=state.value,
            )
        families.gauge(
            "dj_queue_queue_paused", "Whether the queue is paused.", queue.paused, **labels
        )
        if queue.latency is not None:
            families.gauge(
                "dj_queue_queue_latency_seconds",
                "How long the oldest ready job has waited; absent when there is none, and while paused.",
                queue.latency,
                **labels,
            )
        if queue.oldest_ready_at is not None:
            families.gauge(
                "dj_queue_queue_oldest_ready_timestamp_seconds",
                "Since when the oldest ready job could run; absent when there is none.",
                queue.oldest_ready_at.timestamp(),
                **labels,
            )
        families.gauge(
            "dj_queue_queue_live_workers",
            "Living workers that serve the queue; one that serves several counts in each.",
            queue.live_workers,
            **labels,
        )


def _processes(families: _Families, taken: "BackendSnapshot") -> None:
    from dj_queue.reads.stats import by_status

    backend = taken.backend_alias
    by_kind = by_status(taken.processes)
    for status in ("live", "stale"):
        families.gauge(
            "dj_queue_runner_processes",
            "Processes and their parts.",
            sum(numbers[status] for numbers in by_kind.values()),
            backend=backend,
            status=status,
        )
    for kind, numbers in sorted(by_kind.items()):
        for status, number in numbers.items():
            for name in ("dj_queue_runner_processes_by_kind", "dj_queue_processes"):
                families.gauge(
                    name,
                    "Processes and their parts, by kind.",
                    number,
                    backend=backend,
                    kind=kind,
                    status=status,
                )
        families.gauge(
            "dj_queue_process_last_heartbeat_timestamp_seconds",
            "The newest sign of life of any process of a kind.",
            max(
                each.last_heartbeat_at.timestamp() for each in taken.processes if each.kind == kind
            ),
            backend=backend,
            kind=kind,
        )
    families.gauge(
        "dj_queue_process_rows", "Rows of processes.", len(taken.processes), backend=backend
    )
    for leader in taken.leaders:
        families.gauge(
            "dj_queue_leader_progress_timestamp_seconds",
            "When the leader last said that it gets on.",
            leader.progress_at.timestamp(),
            backend=backend,
            role=leader.role,
        )


def _failures(families: _Families, taken: "BackendSnapshot") -> None:
    backend, failures = taken.backend_alias, taken.failures
    families.gauge("dj_queue_failed_jobs", "Failed jobs.", failures.total.number, backend=backend)
    if failures.oldest is not None:
        families.gauge(
            "dj_queue_failed_job_oldest_age_seconds",
            "How long ago the oldest failed job failed.",
            (taken.taken_at - failures.oldest).total_seconds(),
            backend=backend,
        )
    if taken.failed_retention is not None:
        families.gauge(
            "dj_queue_failed_job_retention_seconds",
            "OPTIONS['clear_failed_jobs_after'].",
            taken.failed_retention.total_seconds(),
            backend=backend,
        )
        families.gauge(
            "dj_queue_failed_jobs_over_retention",
            "Failed jobs that should have been cleared.",
            failures.over_retention.number,
            backend=backend,
        )


def _recurring(families: _Families, taken: "BackendSnapshot") -> None:
    backend = taken.backend_alias
    families.gauge(
        "dj_queue_recurring_tasks", "Recurring tasks.", taken.recurring_count, backend=backend
    )
    for each in taken.recurring:
        if each.last_run_at is not None:
            families.gauge(
                "dj_queue_recurring_last_fire_timestamp_seconds",
                "For which time a recurring task was fired last.",
                each.last_run_at.timestamp(),
                backend=backend,
                key=each.key,
            )
        if each.next_run_at is not None:
            families.gauge(
                "dj_queue_recurring_next_fire_timestamp_seconds",
                "For which time a recurring task is to be fired next; in the past when that is late.",
                each.next_run_at.timestamp(),
                backend=backend,
                key=each.key,
            )


def _semaphores(families: _Families, taken: "BackendSnapshot") -> None:
    # Not by key: keys are made of data, and there may be one for each customer.
    database = taken.database_alias
    for name, about, value in (
        ("dj_queue_semaphores", "Concurrency keys.", taken.semaphore_count),
        (
            "dj_queue_semaphore_limit",
            "Slots that there are, of the first 500 keys.",
            sum(each.limit for each in taken.semaphores),
        ),
        (
            "dj_queue_semaphore_in_use",
            "Slots in use, of the first 500 keys.",
            sum(each.occupied for each in taken.semaphores),
        ),
        (
            "dj_queue_semaphore_waiting",
            "Jobs that wait for a slot, of the first 500 keys.",
            sum(each.waiting for each in taken.semaphores),
        ),
    ):
        families.gauge(name, about, value, queue_database=database)


def _attempts(
    families: _Families, backend: str, totals: "dict[tuple[str, str], Throughput]"
) -> None:
    for (queue, task), ended in sorted(totals.items()):
        labels = {"backend": backend, "queue": queue, "task": task}
        for outcome, number in (("succeeded", ended.finished), ("failed", ended.failed)):
            families.counter(
                "dj_queue_jobs_processed",
                "Attempts of jobs that ended.",
                number,
                **labels,
                outcome=outcome,
            )
        families.counter(
            "dj_queue_job_retries",
            "Attempts that ended and were not the first of their job.",
            ended.retried,
            **labels,
        )
        families.histogram(
            "dj_queue_job_duration_seconds",
            "How long attempts took, well or not.",
            ended.durations,
            **labels,
        )
        families.histogram(
            "dj_queue_job_wait_seconds",
            "From when a job could run to its first attempt.",
            ended.waits,
            **labels,
        )


def _failures_by_error(
    families: _Families, backend: str, counted: dict[tuple[str, str, str], int]
) -> None:
    for (queue, task, error), number in counted.items():
        families.counter(
            "dj_queue_job_failures",
            "Failed attempts by the class of their error; with OPTIONS['statistics_errors'].",
            number,
            backend=backend,
            queue=queue,
            task=task,
            exception=error,
        )


def _build_info(families: _Families) -> None:
    from importlib.metadata import version

    families.info("dj_queue_build", "What runs here.", version=version("dj-queue"))


def _cumulated(counts: Sequence[int]) -> list[tuple[str, float]]:
    from dj_queue.models.statistics import BOUNDS

    found, total = [], 0
    for bound, number in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
        total += number
        found.append((bound, float(total)))
    return found


DjQueueCollector: type[_Collector] | None = None
registry: "CollectorRegistry | None" = None
generate_latest: Any = None
if _is_there:
    DjQueueCollector = _Collector
    generate_latest = _generate_latest
    # Of its own, so that a project's metrics are not told twice, and ours not in every process.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector())
