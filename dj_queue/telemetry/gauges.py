"""Gauges that ask the database: how much is in each queue, for how long it waits, and who lives.

All processes would tell the same, so only the one that leads as dispatcher does; in the others the gauges
are silent. They are asked in the thread of an exporter. An answer is kept for some seconds, for
exporters that ask more than once.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from django.db import connections
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from dj_queue import current, events
from dj_queue.config import BackendConfig, backend_config
from dj_queue.reads import stats
from dj_queue.store import store_for
from dj_queue.telemetry import conventions as names
from dj_queue.telemetry import providers
from dj_queue.telemetry.attributes import Attributes
from dj_queue.telemetry.suppression import suppressed

_logger = logging.getLogger("dj_queue.telemetry")

_FRESH_SECONDS = 5.0
_ROLE = "dispatcher"
_STATES = ("ready", "claimed", "scheduled", "blocked", "failed")

type _Observe = Callable[["_Snapshot"], Iterator[Observation]]


class _Snapshot:
    """What one backend's gauges show, all from the same moment."""

    def __init__(self, config: BackendConfig) -> None:
        self.taken_at = time.monotonic()
        self.backend = config.alias
        self.queues = stats.queue_stats(config)
        database_now = store_for(config.options.database_alias).now()
        self.processes = stats.by_status(stats.processes(config, database_now))


_leads: set[str] = set()
"""The backends whose dispatcher leads in this process."""
_snapshots: dict[str, _Snapshot] = {}
# Guards _snapshots and _metered: exporters ask in threads of their own.
_lock = threading.Lock()
_metered: list[Meter] = []


def listen() -> None:
    """Know who leads from now on, and offer the gauges where a process does."""
    events.subscribe(events.LeadershipGained, _gained)
    events.subscribe(events.LeadershipLost, _lost)


def _gained(event: events.LeadershipGained) -> None:
    if event.role == _ROLE:
        # In this order: who is known to lead can be asked.
        _offer()
        _leads.add(event.backend)


def _lost(event: events.LeadershipLost) -> None:
    if event.role == _ROLE:
        _leads.discard(event.backend)


def _offer() -> None:
    meter = providers.meter()
    if meter is None:
        return
    with _lock:
        if any(known is meter for known in _metered):
            return
        _metered.append(meter)
    for name, unit, about, observe in (
        ("dj_queue.queue.depth", "{job}", "Jobs in each live state", _depths),
        ("dj_queue.queue.latency", "s", "How long the oldest ready job has waited", _latencies),
        ("dj_queue.process.count", "{process}", "Processes and their parts", _processes),
    ):
        meter.create_observable_gauge(name, [partial(_observed, observe)], unit, about)


def _observed(observe: _Observe, options: CallbackOptions) -> Iterable[Observation]:
    del options
    found: list[Observation] = []
    for backend in sorted(_leads):
        try:
            snapshot = _snapshot(backend_config(backend))
        except Exception:
            _logger.warning("The gauges of backend %s could not be read.", backend, exc_info=True)
            continue
        if snapshot is not None:
            found += observe(snapshot)
    return found


def _snapshot(config: BackendConfig) -> _Snapshot | None:
    if not config.options.telemetry.enabled:
        return None
    with _lock:
        found = _snapshots.get(config.alias)
        if found is None or time.monotonic() - found.taken_at > _FRESH_SECONDS:
            found = _snapshots[config.alias] = _taken(config)
        return found


def _taken(config: BackendConfig) -> _Snapshot:
    token = current.bookkeeping_of.set(config.alias)
    try:
        with suppressed():
            return _Snapshot(config)
    finally:
        current.bookkeeping_of.reset(token)
        # An exporter's thread is nobody's request: nothing else would ever close it.
        if not connections[config.options.database_alias].in_atomic_block:
            connections[config.options.database_alias].close()


def _depths(snapshot: _Snapshot) -> Iterator[Observation]:
    for queue in snapshot.queues:
        for state in _STATES:
            about = {**_queue(snapshot, queue.name), names.STATE: state}
            yield Observation(getattr(queue, state), about)


def _latencies(snapshot: _Snapshot) -> Iterator[Observation]:
    for queue in snapshot.queues:
        yield Observation(queue.latency or 0.0, _queue(snapshot, queue.name))


def _processes(snapshot: _Snapshot) -> Iterator[Observation]:
    for kind, numbers in snapshot.processes.items():
        for status, number in numbers.items():
            about = {
                names.BACKEND: snapshot.backend,
                names.PROCESS_KIND: kind,
                names.PROCESS_STATUS: status,
            }
            yield Observation(number, about)


def _queue(snapshot: _Snapshot, name: str) -> Attributes:
    return {names.BACKEND: snapshot.backend, names.DESTINATION: name}
