"""An actor: a named thread that ticks, sleeps until something is due, and does not die of errors.

        start()            stop()               (deadline passed, or all done)
    new ───────► running ─────────► stopping ──────────────────────────────► stopped

`running`: `tick` is called, then the thread waits as long as `tick` said or until it is woken. A tick
that raises is reported and tried again after a growing delay, with a fresh connection; that never ends
the actor. `stopping`: `wind_down` has until the deadline. `stopped`: the thread has ended. Starting twice
and stopping twice is the same as once, from any thread; an actor that was never started just stops.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.db import connections, reset_queries

from dj_queue import current, events, tracing
from dj_queue.backoff import Backoff
from dj_queue.runtime.hearing import Hearing
from dj_queue.store import Session
from dj_queue.store.wake import WakeSignal

# From so many failures in a row, or seconds in one tick, on the actor counts as sick.
_SICK_FAILURES = 5
_STUCK_SECONDS = 60.0


def _nothing() -> None:
    """Nobody wants to know."""


class Actor(ABC):
    """One thread of the runtime with a database session of its own."""

    def __init__(self, backend_alias: str, name: str) -> None:
        self.backend_alias = backend_alias
        self.name = name
        self.wake = WakeSignal()
        self.on_stopping: Callable[[], None] = _nothing
        """Called in a thread of its own when the actor has been asked to stop and begins to."""
        self.should_look = True
        """Whether the next tick is to ask the database for work: the database called, or it is time."""
        self._backoff = Backoff()
        self._hearing = Hearing(backend_alias, name)
        self._session: Session | None = None
        self._thread: threading.Thread | None = None
        self._deadline: float | None = None
        self._stopped = threading.Event()
        # When the tick that runs now began; None between ticks.
        self._busy_since: float | None = None
        # Guards _thread and _deadline.
        self._lock = threading.Lock()

    @abstractmethod
    def open_session(self) -> Session:
        """The session for this actor's thread; called in it, once."""

    @abstractmethod
    def tick(self, session: Session) -> float:
        """Do what is to be done now; how many seconds to wait before the next look."""

    def sleep(self, session: Session, seconds: float) -> None:
        """Wait after a tick, at most *seconds*, and note whether the next is to look for work."""
        if session.wait(self.wake, seconds):
            self.should_look = True

    def failed(self) -> None:  # noqa: B027 - most actors have nothing to do
        """Called after a tick or a wait raised: a statement may have been carried out all the same."""

    def wind_down(self, session: Session, deadline: float) -> None:
        """Bring everything in order before the thread ends, by *deadline* (monotonic). May raise."""
        del session, deadline

    def start(self) -> None:
        """Start the thread; returns at once."""
        with self._lock:
            if self._thread is None and self._deadline is None:
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()

    def stop(self, deadline: float) -> None:
        """Ask the actor to stop by *deadline* (monotonic); returns at once. An earlier deadline wins."""
        with self._lock:
            if self._deadline is None or deadline < self._deadline:
                self._deadline = deadline
            if self._thread is None:
                self._stopped.set()
        self.wake.set()

    def join(self, deadline: float) -> bool:
        """Wait until the actor has stopped, but not beyond *deadline*; whether it has."""
        return self._stopped.wait(max(0.0, deadline - time.monotonic()))

    def call(self) -> None:
        """There is work: look for it now. From any thread."""
        self.should_look = True
        self.wake.set()

    @property
    def is_woken_by_database(self) -> bool:
        """Whether the database ends this actor's sleep when there is work, so that it need not poll."""
        return self._session is not None and self._session.is_woken_by_database

    @property
    def is_well(self) -> bool:
        """Whether the actor does its work: its thread lives, is not stuck, and does not fail all the time."""
        busy_since = self._busy_since
        return (
            not self._stopped.is_set()
            and self._backoff.failures < _SICK_FAILURES
            and (busy_since is None or time.monotonic() - busy_since < _STUCK_SECONDS)
        )

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._deadline is not None

    @property
    def deadline(self) -> float:
        """By when a stopping actor must have stopped; infinite while it runs."""
        return float("inf") if self._deadline is None else self._deadline

    def _run(self) -> None:
        # Its statements are of interest to nobody: they are neither traced nor logged.
        current.bookkeeping_of.set(self.backend_alias)
        with tracing.bookkeeping():
            self._run_quietly()

    def _run_quietly(self) -> None:
        events.emit(events.ActorStarted(self.backend_alias, self.name))
        is_clean = True
        try:
            session = self._opened_session()
            if session is not None:
                self._session = session
                with session:
                    while not self.is_stopping:
                        self._tick_once(session)
                    told = self._tell_stopping()
                    is_clean = self._wind_down_once(session)
                    told(max(0.0, self.deadline - time.monotonic()))
        finally:
            # Listeners and hooks may have used Django's connections in this thread.
            connections.close_all()
            events.emit(events.ActorStopped(self.backend_alias, self.name, is_clean))
            self.wake.close()
            self._stopped.set()

    def _tell_stopping(self) -> Callable[[float], None]:
        """Call `on_stopping` beside what is to be done: whoever listens may hang, and jobs must not wait.

        What waits for the end of that call, so many seconds at the most.
        """

        def tell() -> None:
            try:
                self.on_stopping()
            finally:
                connections.close_all()

        thread = threading.Thread(target=tell, name=f"{self.name}-stopping", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # While the interpreter ends, Python 3.12 starts no thread. Then the call comes last.
            return lambda _: tell()
        return thread.join

    def _opened_session(self) -> Session | None:
        try:
            return self.open_session()
        except Exception as error:  # noqa: BLE001 - reported; without a session there is nothing to do
            self._report(error, 0.0)
            return None

    def _tick_once(self, session: Session) -> None:
        # Before the look for work, so that what comes during it is looked at in the next tick.
        self.wake.clear()
        if self.is_stopping:
            return
        try:
            self._busy_since = time.monotonic()
            seconds = self.tick(session)
            self._busy_since = None
            self._hearing.worked(session)
            if settings.DEBUG:
                reset_queries()  # Django remembers them until a request ends, and here is none.
            if self._backoff.failures:
                recovered = events.ActorRecovered(
                    self.backend_alias, self.name, self._backoff.failures
                )
                self._backoff.reset()
                events.emit(recovered)
            if seconds > 0 and not self.is_stopping:
                self.sleep(session, seconds)
        except Exception as error:  # noqa: BLE001 - an actor outlives every error
            self._busy_since = None
            self._hearing.failed(session)
            self.failed()
            delay = self._backoff.next_delay()
            self._report(error, delay)
            self._rest(delay)
            self.should_look = True

    def _rest(self, seconds: float) -> None:
        """Sleep after a failure; being woken for work is no reason to fail again at once."""
        until = time.monotonic() + seconds
        while not self.is_stopping and (left := until - time.monotonic()) > 0:
            self._stopped.wait(min(left, 0.05))

    def _wind_down_once(self, session: Session) -> bool:
        try:
            self.wind_down(session, self.deadline)
        except Exception as error:  # noqa: BLE001 - the thread ends anyway
            self._report(error, 0.0)
            return False
        return True

    def _report(self, error: BaseException, delay: float) -> None:
        events.emit(
            events.ActorFailed(
                self.backend_alias,
                self.name,
                error,
                self._backoff.failures,
                timedelta(seconds=delay),
            )
        )
