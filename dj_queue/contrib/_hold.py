"""A server's hold on the runtime of its process: taken when it starts, given up when it ends.

            start                       stop
    new ──────────────► held ──────────────────────► over ──► (start: held)
     └─ cannot start ─► refused

Servers differ in when they start and how they end; what is to be done then is the same and is here.
The states are those of one process: after a fork the child's hold is new, whatever the parent's was,
also where hooks for forks are not called (uWSGI).

Nothing of Django is imported with this module.
"""

import atexit
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dj_queue.runtime.supervisor import Supervisor

_logger = logging.getLogger("dj_queue.supervisor")

# When nobody waits for an orderly stop, this much is taken to give back jobs.
FAST_STOP_SECONDS = 0.5

# How long the main thread may take to notice a signal.
_MAIN_THREAD_SECONDS = 1.0

# What a shell shows for a process that a signal ended.
_ENDED_BY_SIGNAL = 128


class Hold:
    """One holder of the runtime of *backend_alias*; `dj_queue.runtime.embedded` counts them.

    All methods may be called from any thread and more than once, and none of them raises because of
    the runtime: a server goes on serving whatever becomes of its jobs.
    """

    def __init__(self, backend_alias: str = "default", *, seconds: float | None = None) -> None:
        """*seconds* is what running jobs get to end; None: `OPTIONS["shutdown_timeout"]`."""
        self.backend_alias = backend_alias
        self.seconds = seconds
        self._states: dict[int, _State] = {}

    @property
    def was_tried(self) -> bool:
        """Whether `start` was called in this process, with whatever result."""
        return self._here.was_tried

    @property
    def refusal(self) -> str | None:
        """Why the runtime could not be started in this process, if it could not."""
        return self._here.refusal

    @property
    def is_running_already(self) -> bool:
        """Whether somebody has started the runtime in this process.

        Who only comes with the first request must not hold it as well, or it would outlive their stop.
        """
        embedded = sys.modules.get("dj_queue.runtime.embedded")
        supervisor = embedded and embedded.running(self.backend_alias)
        return supervisor is not None and supervisor.is_running

    def leave_to_others(self) -> None:
        """Count as tried without starting."""
        self._here.was_tried = True

    def start(self) -> str | None:
        """Start the runtime if it does not run; None, or why it cannot. Returns at once.

        "Cannot" is a wrong setting; a database that is down is waited for inside.
        """
        here = self._here
        with here.lock:
            here.was_tried = True
            if here.supervisor is None:
                here.is_over.clear()
                here.refusal = self._acquire(here)
            return here.refusal

    def stop(self, seconds: float | None = None) -> bool:
        """Stop the runtime, unless somebody else holds it too; whether all threads ended in time.

        A second caller waits for the first, and may be in a greater hurry.
        """
        here = self._here
        seconds = self.seconds if seconds is None else seconds
        with here.lock:
            supervisor = here.supervisor
            if supervisor is None:
                return True
            is_first, here.is_stopping = not here.is_stopping, True
        if not is_first:
            return here.wait_for_first(seconds)
        from dj_queue.runtime import embedded

        try:
            return embedded.release(self.backend_alias, seconds)
        finally:
            with here.lock:
                here.supervisor, here.is_stopping = None, False
            _held.discard(self)
            here.is_over.set()

    def stop_fast(self) -> None:
        """Give back what has not begun and go, if `stop` was not called or is not through."""
        if self.seconds is None or self.seconds > FAST_STOP_SECONDS:
            self.stop(FAST_STOP_SECONDS)
        else:
            self.stop()

    def quiesce(self) -> None:
        """Stop claiming now; what runs goes on."""
        supervisor = self._here.supervisor
        if supervisor is not None:
            supervisor.quiesce()

    def stop_at_exit(self) -> None:
        """Have `stop` called when this process ends in Python's way."""
        here = self._here
        if not here.stops_at_exit:
            here.stops_at_exit = True
            atexit.register(_stop_at_exit)

    def heed_sigterm(self, *, stops: bool = False, takes_default: bool = False) -> None:
        """Quiesce at SIGTERM, because servers say that they stop only when all open requests have ended.

        With *stops*, stop then: nobody will say it later. The handler that is there is called after ours.
        Where there is none, SIGTERM ends the process at once and jobs with it; with *takes_default* the
        runtime stops first, and a second SIGTERM does not hurry that (hypercorn sends two). Only the main
        thread can do all this; in others nothing happens.
        """
        self._here.stops_at_sigterm = stops
        if threading.current_thread() is not threading.main_thread():
            return
        previous = signal.getsignal(signal.SIGTERM)
        if isinstance(previous, _AtSigterm):
            if previous.pid == os.getpid():
                return
            previous = previous.previous  # A forked child's; its thread stayed behind.
        if callable(previous) or (takes_default and _nobody_catches(signal.SIGTERM)):
            try:
                handler = _AtSigterm(previous)
            except RuntimeError:
                return  # No thread can be started; the server's own end has to do.
            signal.signal(signal.SIGTERM, handler)

    @property
    def stops_at_exit(self) -> bool:
        """Whether `stop_at_exit` was called."""
        return self._here.stops_at_exit

    @property
    def stops_at_sigterm(self) -> bool:
        """Whether nobody will say later that this process ends."""
        return self._here.stops_at_sigterm

    @property
    def seconds_to_stop(self) -> float:
        """What running jobs get to end, if nobody says otherwise."""
        supervisor = self._here.supervisor
        if self.seconds is not None or supervisor is None:
            return self.seconds or 0.0
        return supervisor.config.options.shutdown_timeout

    @property
    def _here(self) -> "_State":
        pid = os.getpid()
        # In one step: two threads of a new child that ask at once must get the same state.
        return self._states.get(pid) or self._states.setdefault(pid, _State())

    def _acquire(self, here: "_State") -> str | None:
        refusal = _reason_against_threads()
        if refusal is None:
            try:
                from dj_queue.runtime import embedded

                here.supervisor = embedded.acquire(self.backend_alias)
            except Exception as error:  # noqa: BLE001 - servers take it for whatever they like
                refusal = str(error)
        if refusal is None:
            _held.add(self)
        else:
            _logger.error(
                "dj_queue does not run in this server: %s", refusal, extra={"event": "start.failed"}
            )
        return refusal


class _State:
    """What a hold is in one process."""

    def __init__(self) -> None:
        # Guards supervisor and is_stopping; `start` keeps it while it makes the supervisor.
        self.lock = threading.Lock()
        self.supervisor: Supervisor | None = None
        self.was_tried = False
        self.refusal: str | None = None
        self.is_stopping = False
        self.is_over = threading.Event()
        self.stops_at_exit = False
        self.stops_at_sigterm = False

    def wait_for_first(self, seconds: float | None) -> bool:
        """Wait for the caller that stops; one with less time makes that one hurry, too."""
        supervisor = self.supervisor
        if supervisor is None:
            return True
        if not supervisor.is_running:
            supervisor.stop(seconds)
        if seconds is None:
            seconds = supervisor.config.options.shutdown_timeout
        return self.is_over.wait(seconds + FAST_STOP_SECONDS)


# The holds of this process that are held. Sets add, discard and copy in one step.
_held: set[Hold] = set()


class _AtSigterm:
    """A handler of SIGTERM that tells the holds, and then does what was done without it."""

    def __init__(self, previous: Callable[[int, Any], Any] | int | None) -> None:
        self.previous = previous
        self._is_stopping = False
        self._has_stopped = False
        self.pid = os.getpid()
        # Done by a thread that waits for them: the signal may have come while the main thread holds a lock
        # of the runtime, or one that starting a thread needs. A SimpleQueue takes orders even then.
        self._orders: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        threading.Thread(target=self._carry_out, name="dj_queue-sigterm", daemon=True).start()

    def __call__(self, number: int, frame: Any) -> None:
        if callable(self.previous):
            # A forked child has neither the thread nor anything that it could stop.
            if self.pid == os.getpid():
                self._orders.put(_react_to_sigterm)
            self.previous(number, frame)
        elif self._has_stopped or not _held or self.pid != os.getpid():
            _die_of(number)
        elif not self._is_stopping:
            self._is_stopping = True
            self._orders.put(lambda: self._stop_and_call_again(number))

    def _carry_out(self) -> None:
        while True:
            order = self._orders.get()
            try:
                order()
            except Exception:
                _logger.exception("dj_queue could not react to SIGTERM.")

    def _stop_and_call_again(self, number: int) -> None:
        try:
            _stop_together(list(_held))
        finally:
            self._has_stopped = True
            # Only the main thread can give the signal its default action back.
            os.kill(os.getpid(), number)
            # It may be busy for long, in C.
            time.sleep(_MAIN_THREAD_SECONDS)
            os._exit(_ENDED_BY_SIGNAL + number)


def _react_to_sigterm() -> None:
    """What `heed_sigterm` has promised, in a thread where waiting does no harm."""
    holds = list(_held)
    for hold in holds:
        hold.quiesce()
    _stop_together([hold for hold in holds if hold.stops_at_sigterm])


def _stop_at_exit() -> None:
    _stop_together([hold for hold in list(_held) if hold.stops_at_exit])


def _stop_together(holds: list[Hold]) -> None:
    """Stop *holds* within the time that one takes: while one is waited for, jobs of the others run on."""
    for hold in holds:
        hold.quiesce()
    began = time.monotonic()
    for hold in holds:
        left = hold.seconds_to_stop - (time.monotonic() - began)
        hold.stop(max(min(FAST_STOP_SECONDS, hold.seconds_to_stop), left))


def _die_of(number: int) -> None:
    """End the process as the signal would have done, so that whoever waits for it sees that signal."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    # Still here: the kernel spares the first process of a container what has no handler.
    os._exit(_ENDED_BY_SIGNAL + number)


def _nobody_catches(number: int) -> bool:
    """Whether a signal has its default action; False when that cannot be found out.

    Python knows only the handlers that Python set. uWSGI's are in C, and must not be taken away.
    """
    if signal.getsignal(number) is not signal.SIG_DFL:
        return False
    try:
        with open("/proc/self/status") as status:
            caught = next(line for line in status if line.startswith("SigCgt:")).split()[1]
    except (OSError, StopIteration):
        return False
    return not int(caught, 16) >> (number - 1) & 1


def _reason_against_threads() -> str | None:
    """Why jobs cannot run in threads of this process, if they cannot."""
    uwsgi = sys.modules.get("uwsgi")
    if not getattr(uwsgi, "has_threads", True):
        # Before uWSGI 2.0.27 that was the default. Threads stand still then while no request is served.
        return "uWSGI runs without threads; start it with --enable-threads"
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        return (
            "gevent has replaced threads, and one job that computes would hold up all requests. "
            "Run jobs in a process of their own: manage.py dj_queue"
        )
    return None
