"""The scheduler: fires recurring tasks, and has old jobs cleared away.

It sleeps until the next entry is due by the database's clock, and is woken when entries are changed. Of all
schedulers of a backend, in one process or many, one leads and works, see `dj_queue.runtime.leadership`; with
two, each time is fired once all the same.

The lock is on its session. Firing uses Django's connection of its thread, as everybody who enqueues does;
it is closed when nothing is due for a while.
"""

import time
from datetime import datetime
from typing import Any, Protocol, Self

from dj_queue import events
from dj_queue.config import BackendConfig, load_backend_config
from dj_queue.operations.declared import entries_of, import_tasks
from dj_queue.operations.recurring_entries import write_static
from dj_queue.reads.recurring import next_time
from dj_queue.runtime import connections
from dj_queue.runtime.firing import Firings
from dj_queue.runtime.leadership import LeaderActor
from dj_queue.runtime.polling import SAFETY_SECONDS
from dj_queue.runtime.registration import Registration
from dj_queue.runtime.retention import Retention
from dj_queue.store import Session, Topic, store_for
from dj_queue.store.locks import Holder

# A timer that fires a moment early would find nothing due and have to come back.
_LATE_SECONDS = 0.001

# The longest that the leader does one thing, because it has to prove in between that it leads.
_SLICE_SECONDS = 0.5

# Django's connection is closed when nobody needs it for so long.
_IDLE_SECONDS = 20.0

# A chore that failed is tried again so much later.
_CHORE_REST_SECONDS = 60.0


class Chore(Protocol):
    """What else the leader does, when nothing is due."""

    def work(self, until: float | None = None) -> float:
        """Work until the monotonic time *until* at the latest; in how many seconds to call again."""


class Scheduler(LeaderActor):
    """The one scheduler of a process."""

    role = "scheduler"

    def __init__(
        self, config: BackendConfig, registration: Registration, name: str = "scheduler-1"
    ) -> None:
        super().__init__(
            config.alias,
            f"dj_queue-{config.alias}-{name}",
            Holder(registration.name(name), registration.pid, registration.hostname),
        )
        self.config = config
        self.process_name = registration.name(name)
        self._are_entries_written = False
        self._firings = Firings(config)
        self._chore = _chore(config)
        self._chore_at = 0.0

    @classmethod
    def from_backend_config(cls, *, backend_alias: str = "default") -> Self | None:
        """The scheduler of `TASKS[backend_alias]`; None when there is nothing for it to do."""
        config = load_backend_config(backend_alias)
        return cls(config, Registration()) if has_work(config) else None

    @property
    def metadata(self) -> dict[str, Any]:
        """What the scheduler's row tells about it."""
        options = self.config.options
        return {
            "dynamic_tasks_enabled": options.scheduler.dynamic_tasks_enabled,
            "polling_interval": options.scheduler.polling_interval,
            "static_task_count": len(options.recurring),
            "cleanup_enabled": self._chore is not None,
        }

    def open_session(self) -> Session:
        options = self.config.options
        return store_for(options.database_alias).open_session(
            self.config.alias, listen=(Topic.RECURRING,) if options.listen_notify else ()
        )

    def tick(self, session: Session) -> float:
        if not self._are_entries_written:
            with connections.kept_open(self.config.options.database_alias):
                self._write_entries()
            connections.close_all()
            self._are_entries_written = True
        return super().tick(session)

    def failed(self) -> None:
        super().failed()
        # Perhaps it is broken; and nobody else tidies up in this thread.
        connections.close_all()

    def lead(self, session: Session) -> float:
        with connections.kept_open(self.config.options.database_alias):
            seconds = self._fire_and_clear(session)
        self._tidy_up(seconds)
        return seconds

    def _fire_and_clear(self, session: Session) -> float:
        now, read_at = session.now(), time.monotonic()
        until = read_at + _SLICE_SECONDS
        term = self._leader_lock.term if self._leader_lock is not None else None
        is_done = self._firings.fire_due(now, until=until, term=term)
        # What is written from here on is not in the answer below, and ends the sleep.
        session.note_look()
        next_due = next_time(self.config, now)
        seconds = self._seconds_to(next_due, now, read_at) if is_done else 0.0
        seconds = min(seconds, self._firings.seconds_to_retry, self._longest_sleep(session))
        if is_done:
            seconds = min(seconds, self._do_chore(time.monotonic() + seconds))
        return seconds

    def _write_entries(self) -> None:
        """Write down what settings and decorators say; what cannot be used is told, and does not fire."""
        rejected = list(import_tasks())
        entries, unusable = entries_of(self.config)
        rejected += [*unusable, *write_static(self.config, entries)]
        for entry in rejected:
            events.emit(events.RecurringTaskRejected(self.backend_alias, entry.key, entry.error))

    def _do_chore(self, due_at: float) -> float:
        """Let the chore work, but not beyond *due_at* (monotonic); in how many seconds it wants to go on."""
        if self._chore is None:
            return float("inf")
        now = time.monotonic()
        if now >= self._chore_at and due_at > now:
            try:
                rest = self._chore.work(min(due_at, now + _SLICE_SECONDS))
            except Exception as error:  # noqa: BLE001 - it must never keep entries from being fired
                connections.close_all()
                rest = _CHORE_REST_SECONDS
                events.emit(events.ChoreFailed(self.backend_alias, self.name, error))
            self._chore_at = time.monotonic() + rest
        return max(0.0, self._chore_at - time.monotonic())

    def _longest_sleep(self, session: Session) -> float:
        interval = self.config.options.scheduler.polling_interval
        return max(SAFETY_SECONDS, interval) if session.is_woken_by_database else interval

    def _seconds_to(self, due: datetime | None, now: datetime, read_at: float) -> float:
        """From this moment to *due*, by the clock that showed *now* when ours showed *read_at*."""
        if due is None:
            return float("inf")
        passed = time.monotonic() - read_at
        return max(0.0, (due - now).total_seconds() - passed) + _LATE_SECONDS

    def _tidy_up(self, seconds: float) -> None:
        if seconds > _IDLE_SECONDS:
            connections.close_all()
        else:
            connections.clean_after_job()


def has_work(config: BackendConfig) -> bool:
    """Whether there is anything for a scheduler to do: entries of any kind, or old jobs to clear away."""
    if config.skip_recurring:
        return False
    options = config.options
    if options.recurring or options.scheduler.dynamic_tasks_enabled or _chore(config) is not None:
        return True
    # Entries of decorators are known when their modules have been imported.
    for _ in import_tasks():
        continue
    entries, rejected = entries_of(config)
    return bool(entries or rejected)


def _chore(config: BackendConfig) -> Chore | None:
    retention = Retention(config)
    return retention if retention.is_configured else None
