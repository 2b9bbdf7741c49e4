"""The supervisor: starts the actors of one backend in this process, and stops them by one deadline.

It is the same object wherever it runs. Inside a web server it owns no signals and no files; stand-alone,
`dj_queue.runtime.standalone` puts signal handling around it. `start` makes threads and returns: connecting,
registering and looking for work happen in them, with back-off, so that a database that is down stops
neither a web server from serving nor this process from starting.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

from dj_queue import events
from dj_queue.config import BackendConfig, load_backend_config, values
from dj_queue.exceptions import ConfigurationError
from dj_queue.operations import direct
from dj_queue.runtime.dispatcher import Dispatcher
from dj_queue.runtime.finisher import MAX_PER_WRITE
from dj_queue.runtime.journal import database_identity, journal_directory
from dj_queue.runtime.registration import Registrar, Registration
from dj_queue.runtime.scheduler import Scheduler, has_work
from dj_queue.runtime.sizing import MAX_CLAIM
from dj_queue.runtime.slots import Slots
from dj_queue.runtime.worker import Worker
from dj_queue.states import Executor
from dj_queue.store import store_for

# How long the last actor may take to sign the process off when the time to stop is already over.
_SIGN_OFF_SECONDS = 0.5


class Supervisor:
    """Workers, dispatchers and the scheduler of one backend, as threads of this process.

    `start` and `stop` may be called from any thread, in any order and more than once; a supervisor that
    has stopped stays so.
    """

    def __init__(
        self,
        config: BackendConfig,
        *,
        workers: bool = True,
        dispatchers: bool = True,
        is_embedded: bool = False,
    ) -> None:
        """Make the actors that *config* names, without starting anything.

        One that *is_embedded* in a web server claims jobs only in so many processes of a machine as
        `OPTIONS["embedded_processes"]` allows.

        Raises `ConfigurationError` when there is nothing to run, `UnsupportedDatabase` when the
        database cannot be used.
        """
        self.config = config
        store_for(config.options.database_alias)
        self._registration = Registration()
        self._is_embedded = is_embedded
        self._slots = _slots(config) if is_embedded else None
        self.workers = [
            Worker(config, worker, self._registration, f"worker-{number}")
            for number, worker in enumerate(config.options.workers if workers else (), start=1)
        ]
        if self._slots is not None:
            for worker in self.workers:
                worker.max_jobs = 0
        self.dispatchers = [
            Dispatcher(config, dispatcher, self._registration, f"dispatcher-{number}")
            for number, dispatcher in enumerate(
                config.options.dispatchers if dispatchers else (), start=1
            )
        ]
        # A process that makes scheduled jobs ready fires recurring tasks, too.
        self.scheduler = (
            Scheduler(config, self._registration) if dispatchers and has_work(config) else None
        )
        if not self._actors:
            raise ConfigurationError(
                f"TASKS[{config.alias!r}]['OPTIONS'] leaves nothing to run: "
                "neither a worker nor a dispatcher, and nothing for a scheduler"
            )
        self._registrar = self._make_registrar()
        for actor in self._actors:
            actor.on_stopping = partial(self._registrar.tell_stopping, actor.process_name)
        self._report_error = _error_reporter(config)
        self._unsubscribe: list[Callable[[], None]] = []
        # Guards the start, the stop and _unsubscribe.
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._is_stopping = False
        self._is_stop_interrupted = False
        self._stop_requested = threading.Event()
        self._stopped = threading.Event()

    @classmethod
    def from_backend_config(
        cls,
        *,
        backend_alias: str = "default",
        cli_overrides: Mapping[str, Any] | None = None,
        tasks_settings: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        workers: bool = True,
        dispatchers: bool = True,
        is_embedded: bool = False,
        standalone: bool = True,
    ) -> Self:
        """A supervisor for `TASKS[backend_alias]`; *env* stands in for the environment.

        One that is not *standalone* is embedded: `standalone=False` says the same as `is_embedded=True`.
        """
        config = load_backend_config(
            backend_alias, cli_overrides=cli_overrides, env=env, tasks_settings=tasks_settings
        )
        return cls(
            config,
            workers=workers,
            dispatchers=dispatchers,
            is_embedded=is_embedded or not standalone,
        )

    @property
    def name(self) -> str:
        """What this process is called in the table of processes."""
        return self._registration.name("supervisor")

    @property
    def is_running(self) -> bool:
        """Whether it was started in this very process and not asked to stop.

        In a process forked from the one that started it, there are no threads: it does not run there.
        """
        return self._pid == os.getpid() and not self._is_stopping

    @property
    def running_jobs(self) -> int:
        """How many jobs run now."""
        return sum(worker.running for worker in self.workers)

    @property
    def held_jobs(self) -> int:
        """How many jobs are claimed here, or on their way, and have no outcome written."""
        return sum(worker.held for worker in self.workers)

    @property
    def connections(self) -> int:
        """The most connections to the queue's database that this process has open at once.

        One for each actor and one for the registrar, a second one for it and for each that may lead while
        they work, one for each thread of a worker. Async jobs that use the ORM have one each on top of
        that, while they run.
        """
        threads = sum(worker.worker.threads for worker in self.workers)
        return threads + len(self._actors) + len(self._leaders) + 2

    @property
    def lost_actors(self) -> list[str]:
        """Actors whose threads have ended though nobody asked them to; nothing replaces them."""
        actors = [*self._actors, self._registrar]
        return [actor.name for actor in actors if actor.join(0.0) and not actor.is_stopping]

    def start(self) -> None:
        """Start the actors; returns at once."""
        with self._lock:
            if self._pid is not None or self._is_stopping:
                return
            self._pid = os.getpid()
            self._listen()
        events.emit(
            events.SupervisorStarted(
                self.config.alias, self.name, tuple(actor.name for actor in self._actors)
            )
        )
        for actor in self._actors:
            actor.start()
        self._registrar.start()

    def wait_until_ready(self, seconds: float) -> bool:
        """Wait until the process is registered, at most *seconds*; whether it is."""
        return self._registration.wait(seconds)

    def request_stop(self) -> None:
        """Have `run` return. Safe in signal handlers."""
        self._stop_requested.set()

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether `request_stop` or `stop` was called."""
        return self._stop_requested.is_set()

    def quiesce(self) -> None:
        """Stop claiming now and give back what has not begun; what runs goes on. Returns at once.

        Another process leads from now on.
        """
        for worker in self.workers:
            worker.quiesce()
        for leader in self._leaders:
            leader.retire()

    def run(self) -> None:
        """Start, block until `request_stop`, and stop."""
        self.start()
        try:
            self._stop_requested.wait()
        finally:
            self.stop()

    def stop(self, timeout: float | None = None) -> bool:
        """Stop claiming, let running jobs end, and end the threads within *timeout* seconds.

        The default is `OPTIONS["shutdown_timeout"]`. Jobs that have not begun are ready again at once;
        those that still run at the end are recorded as failed with `ProcessExitError`. Whether all
        threads ended in time; a second caller waits for the first.
        """
        seconds = self.config.options.shutdown_timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        with self._lock:
            is_first, self._is_stopping = not self._is_stopping, True
            if self._pid != os.getpid():
                return True
        self._stop_requested.set()
        for actor in self._actors:
            actor.stop(deadline)
        if not is_first and not self._is_stop_interrupted:
            return self._stopped.wait(max(0.0, deadline - time.monotonic()) + 2 * _SIGN_OFF_SECONDS)
        try:
            return self._finish_stopping(deadline)
        except BaseException:
            # ^C, for instance: who calls again finishes.
            self._is_stop_interrupted = True
            raise

    def _finish_stopping(self, deadline: float) -> bool:
        joined = [actor.join(deadline + _SIGN_OFF_SECONDS) for actor in self._actors]
        in_time = all(joined)
        abandoned = self.running_jobs
        sign_off = time.monotonic() + _SIGN_OFF_SECONDS
        self._registrar.stop(sign_off)
        in_time = self._registrar.join(sign_off) and in_time
        direct.withdraw(self)
        if self._slots is not None:
            self._slots.give_back()
        with self._lock:
            for unsubscribe in self._unsubscribe:
                unsubscribe()
        self._stopped.set()
        events.emit(events.SupervisorStopped(self.config.alias, self.name, abandoned))
        return in_time

    @property
    def _actors(self) -> list[Dispatcher | Scheduler | Worker]:
        return [*self._leaders, *self.workers]

    @property
    def _leaders(self) -> list[Dispatcher | Scheduler]:
        return [*self.dispatchers, *([] if self.scheduler is None else [self.scheduler])]

    def _make_registrar(self) -> Registrar:
        supervisor = {
            "mode": self.config.options.mode,
            "standalone": not self._is_embedded,
            "worker_count": len(self.workers),
            "dispatcher_count": len(self.dispatchers),
            "has_scheduler": self.scheduler is not None,
        }
        return Registrar(
            self.config,
            self._registration,
            actors=[
                ("supervisor", "Supervisor", supervisor),
                *(
                    (f"worker-{n}", "Worker", worker.metadata)
                    for n, worker in enumerate(self.workers, start=1)
                ),
                *(
                    (f"dispatcher-{n}", "Dispatcher", dispatcher.metadata)
                    for n, dispatcher in enumerate(self.dispatchers, start=1)
                ),
                *(
                    []
                    if self.scheduler is None
                    else [("scheduler-1", "Scheduler", self.scheduler.metadata)]
                ),
            ],
            capacity=sum(
                worker.worker.threads + worker.worker.async_concurrency + MAX_CLAIM
                for worker in self.workers
            )
            + MAX_PER_WRITE,
            connections=self.connections,
            registered=self._call_workers,
            each_second=self._seek_slot,
            is_well=self._is_well,
        )

    def reserve(
        self, database: str, backend_alias: str, queue_name: str, executor: Executor
    ) -> direct.Place | None:
        """See `dj_queue.operations.direct.Host`."""
        if not self._is_ours(database, backend_alias) or not self.is_running:
            return None
        for worker in self.workers:
            place = worker.reserve(queue_name, executor)
            if place is not None:
                return place
        return None

    def _listen(self) -> None:
        direct.offer(self)
        self._unsubscribe = [
            events.subscribe(events.JobsReady, self._on_ready),
            events.subscribe(events.JobsScheduled, self._on_scheduled),
            events.subscribe(events.RecurringTasksChanged, self._on_recurring_changed),
            events.subscribe(events.ActorFailed, self._on_failure),
            events.subscribe(events.HookFailed, self._on_failure),
        ]

    def _call_workers(self) -> None:
        for worker in self.workers:
            worker.call()

    def _on_ready(self, event: events.JobsReady) -> None:
        if self._is_ours(event.database, event.backend):
            for worker in self.workers:
                if not event.queues or worker.serves(event.queues):
                    worker.call()

    def _on_scheduled(self, event: events.JobsScheduled) -> None:
        if self._is_ours(event.database, event.backend):
            for dispatcher in self.dispatchers:
                dispatcher.call()

    def _on_recurring_changed(self, event: events.RecurringTasksChanged) -> None:
        if self.scheduler is not None and self._is_ours(event.database, event.backend):
            self.scheduler.call()

    def _is_ours(self, database: str, backend: str) -> bool:
        # In a forked child the actors are the parent's.
        return (
            self._pid == os.getpid()
            and database == self.config.options.database_alias
            and backend == self.config.alias
        )

    def _seek_slot(self) -> None:
        """Have the workers begin once this process is among those that run jobs."""
        if self._slots is not None and not self._slots.is_taken and self._slots.try_take():
            for worker in self.workers:
                worker.max_jobs = sys.maxsize
                worker.call()

    def _is_well(self, name: str) -> bool:
        return all(actor.is_well for actor in self._actors if actor.process_name == name)

    def _on_failure(self, event: events.ActorFailed | events.HookFailed) -> None:
        if event.backend == self.config.alias and self._report_error is not None:
            self._report_error(event.error)


def _slots(config: BackendConfig) -> Slots | None:
    """The slots that embedded processes share; None where there is no limit, or none can be kept."""
    count = config.options.embedded_processes
    if count is None:
        return None
    try:
        directory = journal_directory(config.options.journal_directory)
    except OSError as error:
        events.emit(events.JournalUnavailable(config.alias, error))
        return None
    identity = f"{database_identity(config.options.database_alias)}|{config.alias}"
    return Slots(directory, identity, count)


def _error_reporter(config: BackendConfig) -> Callable[..., object] | None:
    named = config.options.on_thread_error
    if named is None:
        return None
    return values.resolved(named, f"TASKS[{config.alias!r}]['OPTIONS']['on_thread_error']")
