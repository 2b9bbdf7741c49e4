"""The pool of a worker whose jobs compute: each of its threads has them run by a child process.

    no child ──a job comes──► starting ──ready──► idle ──► busy ──► idle ...     ──stop──► no child
        ▲                        │                          ├─enough jobs─► starting
        └──after a delay─────────┴────────────died──────────┘

The thread only waits, so that requests of this process do not wait for the interpreter's lock. What kills
the child fails the job that it ran, or has it tried again where that is allowed, and nothing else.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dj_queue import events
from dj_queue.config import BackendConfig, WorkerConfig
from dj_queue.exceptions import NotStarted, ProcessExitError, exception_path
from dj_queue.runtime.attempt import describe_error
from dj_queue.runtime.child_process import Child, check, greeting
from dj_queue.runtime.clock import DatabaseClock
from dj_queue.runtime.forks import RestartDelay
from dj_queue.runtime.handed import MAX_WAIT_SECONDS
from dj_queue.runtime.pool import ThreadPool
from dj_queue.runtime.registration import Registration
from dj_queue.store.records import ClaimedJob, JobError, Outcome

# Between the killing of children and the last look at what they have answered.
_KILL_SECONDS = 0.2


_RAN = " while the job ran; how far the job came is not known."
_IMPORTED = " while it imported the module of the job's task."


@dataclass(slots=True)
class _Slot:
    """A thread and its child."""

    name: str
    child: Child | None = None
    started_at: float = 0.0
    jobs: int = 0
    """How many the child has run."""
    delay: RestartDelay = field(default_factory=RestartDelay)
    rest: float = 0.0
    """Seconds to wait before the next child, after one that died."""
    is_starting: bool = False
    is_idle: bool = False
    """Whether the child waits for a job, or is about to take one."""
    job: ClaimedJob | None = None
    """What the child runs."""


class ChildPool(ThreadPool):
    """Like `ThreadPool`, with children that are started when they are needed first, and kept.

    Children note what they begin in the journal of *registration*. *lost* is called with the failure of a job
    whose child died of it; False when that is its outcome.
    """

    def __init__(
        self,
        name: str,
        config: BackendConfig,
        worker: WorkerConfig,
        worker_name: str,
        clock: DatabaseClock,
        *,
        registration: Registration,
        ended: Callable[[Outcome], None],
        lost: Callable[[Outcome], bool],
        freed: Callable[[], None],
    ) -> None:
        """Raises `ConfigurationError` where children could not have this process's settings."""
        super().__init__(name, worker.threads, run=self._run_in_child, ended=ended, freed=freed)
        check(config)
        self._config = config
        self._worker_name = worker_name
        self._max_jobs = worker.max_jobs
        self._clock = clock
        self._registration = registration
        self._lost = lost
        self._slots: dict[int, _Slot] = {}
        self._has_stopped = threading.Event()
        self._is_stopping_told = False
        self._is_abandoned = False

    def add(self, jobs: Sequence[ClaimedJob], asked_at: float) -> None:
        self.jobs.add(jobs, asked_at)
        with self._work:
            # All, since not everybody may take them: see _wait_for_work.
            self._work.notify_all()

    def stop(self) -> None:
        """Let no further job begin; children that are being started for one are not waited for."""
        super().stop()
        self._has_stopped.set()
        self.tell_stopping()
        for slot in tuple(self._slots.values()):
            if slot.is_starting and slot.child is not None:
                slot.child.kill()

    def tell_stopping(self) -> None:
        if self._is_stopping_told:
            return
        # First: a thread whose child is not seen below tells it.
        self._is_stopping_told = True
        for slot in tuple(self._slots.values()):
            # In this order: one that is being started expects a greeting, and nothing else.
            if (child := slot.child) is not None and not slot.is_starting:
                child.tell_stopping()

    def abandon(self) -> list[ClaimedJob]:
        """End the children that still run jobs; those jobs."""
        self._is_abandoned = True
        jobs = [slot.job for slot in tuple(self._slots.values()) if slot.job is not None]
        self._kill_all()
        self.join(time.monotonic() + _KILL_SECONDS)
        return jobs

    def close(self, deadline: float) -> None:
        """See that no child is left."""
        self.join(deadline)
        self._kill_all()

    def _kill_all(self) -> None:
        for slot in tuple(self._slots.values()):
            if (child := slot.child) is not None:
                child.kill()

    def _run_in_child(self, job: ClaimedJob) -> Outcome | None:
        slot, began_at = self._slot(), self._clock.now()
        slot.is_idle = False
        try:
            return self._run_in(slot, job)
        except Exception as error:  # noqa: BLE001 - what a child says is not to be relied on
            if slot.child is not None:
                slot.child.kill()
            return Outcome(job, began_at, self._clock.now(), error=describe_error(error))
        finally:
            slot.job = None

    def _run_in(self, slot: _Slot, job: ClaimedJob) -> Outcome | None:
        taken_at = time.monotonic()
        child = self._living_child(slot)
        is_late = time.monotonic() - taken_at > MAX_WAIT_SECONDS
        if child is None or is_late or self._has_stopped.is_set():
            # Somebody else may have it by now, or a child that is ready the next time.
            self.jobs.refuse(job)
            return None
        slot.job = job
        if self._is_stopping_told:
            child.tell_stopping()
        began_at = self._clock.now()
        place = self._registration.reserve(job)
        try:
            outcome = child.run(job, began_at, place)
        except NotStarted as error:
            self._died(slot, str(error))
            self.jobs.refuse(job)
            return None
        slot.jobs += 1
        return outcome or self._loss(slot, child, job, began_at)

    def _loss(
        self, slot: _Slot, child: Child, job: ClaimedJob, began_at: datetime
    ) -> Outcome | None:
        """The failure of a job of which the child died, unless somebody else settles it."""
        how = child.how_it_ended()
        self._died(slot, how)
        if self._is_abandoned:
            return None
        error = JobError(
            exception_path(ProcessExitError),
            f"The child process {child.pid} of the worker {self._worker_name} ended {how}"
            f"{_IMPORTED if child.was_importing else _RAN}",
            "",
        )
        outcome = Outcome(job, began_at, self._clock.now(), error=error)
        # What ends a child when it is imported must not be imported here to ask for its policy.
        if not child.was_importing and self._lost(outcome):
            return None
        return outcome

    def _after_job(self) -> None:
        slot = self._slot()
        is_used_up = self._max_jobs is not None and slot.jobs >= self._max_jobs
        if slot.rest:
            self._freed()  # For the outcome, which need not wait for this.
            self._has_stopped.wait(slot.rest)
            slot.rest = 0.0
        elif is_used_up and slot.child is not None:
            self._freed()
            self._replace(slot, slot.child)

    def _wait_for_work(self) -> None:
        """Wait for a job, one without a child only for those that no idle child will take."""
        if self.jobs.has_expired:
            self._freed()
        slot = self._slot()
        with self._work:
            slot.is_idle = slot.child is not None
            while not self._stopping and len(self.jobs) <= (0 if slot.is_idle else self._idle()):
                self._work.wait()

    def _idle(self) -> int:
        return sum(slot.is_idle for slot in tuple(self._slots.values()))

    def _before_end(self) -> None:
        slot = self._slots.get(threading.get_ident())
        if slot is not None and slot.child is not None:
            slot.child.retire()
        self._slots.pop(threading.get_ident(), None)
        super()._before_end()

    def _slot(self) -> _Slot:
        """The one of the calling thread."""
        name = threading.current_thread().name.replace("-thread-", "-child-")
        return self._slots.setdefault(threading.get_ident(), _Slot(name))

    def _living_child(self, slot: _Slot) -> Child | None:
        if slot.child is not None and not slot.child.is_alive:
            self._died(slot, slot.child.how_it_ended())
        return slot.child or self._start(slot)

    def _start(self, slot: _Slot) -> Child | None:
        slot.started_at, slot.jobs, slot.is_starting = time.monotonic(), 0, True
        try:
            child = slot.child = Child(slot.name)
            if self._has_stopped.is_set():
                child.kill()
            journal = self._registration.journal
            path = None if journal is None else journal.path
            child.greet(greeting(self._config, self._worker_name, path))
        except (OSError, NotStarted) as error:
            how = str(error) if isinstance(error, NotStarted) else f"before it began ({error})"
            self._died(slot, how)
            return None
        finally:
            slot.is_starting = False
        slot.rest = 0.0
        events.emit(events.ChildStarted(self._config.alias, slot.name, child.pid))
        return child

    def _replace(self, slot: _Slot, child: Child) -> None:
        """Now, while no job waits for it."""
        child.retire()
        slot.child = None
        events.emit(events.ChildReplaced(self._config.alias, slot.name, child.pid))
        if not self._has_stopped.is_set():
            self._start(slot)

    def _died(self, slot: _Slot, how: str) -> None:
        child, slot.child = slot.child, None
        if child is not None:
            child.retire()
        lived = time.monotonic() - slot.started_at
        slot.rest = slot.delay.after(lived)
        if self._is_abandoned or (slot.is_starting and self._has_stopped.is_set()):
            return  # That was us.
        events.emit(
            events.ChildEnded(
                self._config.alias,
                slot.name,
                child.pid if child is not None else 0,
                how,
                timedelta(seconds=lived),
                timedelta(seconds=slot.rest),
            )
        )
