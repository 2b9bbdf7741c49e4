"""Runs jobs inside Gunicorn's web workers; this line in `gunicorn.conf.py` is all there is to write:

    from dj_queue.contrib.gunicorn import post_fork, worker_exit

`post_fork` is called before the application is loaded, so it only sees to it that the runtime starts when
it is. It starts in every web worker, never in the arbiter, and ends with the worker:

    running ──signal──► quiet ──worker_exit, or time is short──► stopping ──► over
       └──────────────── worker_exit (max_requests) ────────────────┘

`quiet`: nothing more is claimed, while the worker serves its open requests. "Time is short" when the rest
of `graceful_timeout`, after which the arbiter kills, is what running jobs may need to end.

Nothing of Django is imported with this module: it is loaded in the arbiter.
"""

import atexit
import inspect
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dj_queue.contrib._hold import FAST_STOP_SECONDS, Hold

if TYPE_CHECKING:
    from dj_queue.runtime.supervisor import Supervisor

__all__ = [
    "build_supervisor",
    "post_fork",
    "post_worker_init",
    "worker_abort",
    "worker_exit",
    "worker_int",
]

_logger = logging.getLogger("dj_queue.supervisor")

# Of graceful_timeout, what is left for ending threads, signing off and the interpreter's own exit.
_EXIT_SECONDS = 2.0

# The arbiter looks for a sign of life about once a second.
_HEARTBEAT_SECONDS = 0.5

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

# What this process has; in a process forked from it, it counts for nothing.
_jobs: "_WorkerJobs | None" = None

# The process that has tried to start: who imports both hooks for that reads one error and not two.
_tried_in: int | None = None


def build_supervisor(backend_alias: str = "default") -> "Supervisor":
    """A supervisor for *backend_alias*, not started."""
    from dj_queue.runtime.supervisor import Supervisor

    return Supervisor.from_backend_config(backend_alias=backend_alias)


def post_fork(server: Any, worker: Any) -> None:
    """Have the runtime start in this web worker when its application is loaded.

    An attribute `dj_queue_backend_alias` of *worker* or *server* names the backend, if not "default".
    """
    _discard_what_the_arbiter_opened()
    chosen_before = worker.cfg.post_worker_init

    def post_worker_init_and_start(worker: Any) -> None:
        _start(worker, server)
        chosen_before(worker)

    # The settings are this process's copy by now: the arbiter keeps its own.
    worker.cfg.set("post_worker_init", post_worker_init_and_start)


def post_worker_init(worker: Any) -> None:
    """Start the runtime in this web worker now; instead of `post_fork`, or beside it."""
    _start(worker, None)


def worker_int(worker: Any) -> None:
    """Stop claiming: the web worker was interrupted. Optional, since the signal is noticed anyway."""
    del worker
    if _jobs is not None:
        _jobs.quiesce()


def worker_abort(worker: Any) -> None:
    """Stop claiming: the arbiter has lost patience. Optional, since the signal is noticed anyway."""
    del worker
    if _jobs is not None:
        _jobs.quiesce()


def worker_exit(server: Any, worker: Any) -> None:
    """Stop the runtime of this web worker. Called in the arbiter too, when a worker has vanished."""
    del server, worker
    if _jobs is not None:
        with _nothing_but_sigkill_ends_this_early():
            _jobs.end()


def _start(worker: Any, server: Any) -> None:
    global _jobs, _tried_in
    if _tried_in == os.getpid():
        return
    _tried_in = os.getpid()
    try:
        _require_django()
        jobs = _WorkerJobs(worker, _backend_alias(worker, server))
        if jobs.start():
            _jobs = jobs
    except Exception as error:  # noqa: BLE001 - the web worker serves whatever becomes of its jobs
        _logger.error(  # noqa: TRY400 - the message is the whole story
            "dj_queue does not run in this web worker: %s", error, extra={"event": "start.failed"}
        )


def _require_django() -> None:
    from django.apps import apps

    if not apps.ready:
        message = (
            "the application is loaded, but Django is not set up. "
            "Is it the wsgi.py or asgi.py of a Django project?"
        )
        raise RuntimeError(message)


def _backend_alias(worker: Any, server: Any) -> str:
    for owner in (worker, server):
        if alias := getattr(owner, "dj_queue_backend_alias", None):
            return str(alias)
    return "default"


def _discard_what_the_arbiter_opened() -> None:
    """With preload_app, connections that were opened while the application was imported."""
    if "django.apps" not in sys.modules:
        return
    from django.apps import apps

    if apps.ready:
        from dj_queue.runtime import embedded

        embedded.discard_inherited_connections()


class _WorkerJobs:
    """The runtime of one web worker, and the thread that ends it in time."""

    def __init__(self, worker: Any, backend_alias: str) -> None:
        self._worker = worker
        self._hold = Hold(backend_alias)
        self._pid = os.getpid()
        self._graceful_seconds = float(worker.cfg.graceful_timeout)
        self._shutdown_seconds = 0.0
        # True: end, False: be quiet. A SimpleQueue, because nothing else may be called in a signal
        # handler that has perhaps interrupted the starting of a thread, or of this very call.
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._over = threading.Event()
        # One inside of the other; only the main thread runs them.
        self._running_handlers: list[Callable[[int, Any], Any]] = []
        self._listens_late = False
        self._heartbeat: int | None = None

    @property
    def is_ours(self) -> bool:
        """Whether this belongs to the very process that asks, and not to one that it was forked from."""
        return self._pid == os.getpid()

    def start(self) -> bool:
        """Start the runtime; False when it cannot start, which is logged. Returns at once."""
        if self._hold.start() is not None:
            return False
        from dj_queue.runtime import embedded

        supervisor = embedded.running(self._hold.backend_alias)
        if supervisor is not None:
            self._shutdown_seconds = supervisor.config.options.shutdown_timeout
        # The worker closes its own descriptor before it calls worker_exit.
        self._heartbeat = os.dup(self._worker.tmp.fileno())
        threading.Thread(target=self._keep, name="dj_queue-gunicorn", daemon=True).start()
        # Some worker classes end without calling worker_exit.
        atexit.register(self.end)
        self._listen()
        return True

    def quiesce(self) -> None:
        """Claim nothing more. Returns at once; for signal handlers too."""
        if self.is_ours:
            self._orders.put(False)

    def end(self) -> None:
        """Stop the runtime and wait for that, while the arbiter sees that this process lives."""
        if not self.is_ours or self._over.is_set():
            return
        self._orders.put(True)
        # More than the stop can take: its own deadline ends it.
        deadline = time.monotonic() + self._seconds_for_jobs + 2 * _EXIT_SECONDS
        while not self._over.wait(_HEARTBEAT_SECONDS) and time.monotonic() < deadline:
            self._beat()

    @property
    def _seconds_after_signal(self) -> float:
        """How long after the signal the runtime must be over, or else be killed."""
        return self._graceful_seconds - min(_EXIT_SECONDS, self._graceful_seconds / 2)

    @property
    def _seconds_for_jobs(self) -> float:
        return max(FAST_STOP_SECONDS, min(self._shutdown_seconds, self._seconds_after_signal))

    def _keep(self) -> None:
        over_by = time.monotonic() + self._wait_for_the_end()
        seconds = min(self._seconds_for_jobs, max(FAST_STOP_SECONDS, over_by - time.monotonic()))
        try:
            self._hold.stop(seconds)
        finally:
            self._over.set()

    def _wait_for_the_end(self) -> float:
        """Wait until the runtime is to be stopped; within how many seconds."""
        if self._orders.get():
            return self._seconds_after_signal
        over_by = time.monotonic() + self._seconds_after_signal
        self._hold.quiesce()
        while True:
            left = over_by - time.monotonic()
            try:
                if self._orders.get(timeout=max(0.0, left - self._seconds_for_jobs)):
                    return over_by - time.monotonic()
            except queue.Empty:
                return left

    def _listen(self) -> None:
        """Be quiet at the signals that end a web worker, besides what it does at them itself."""
        for number in (*_ENDING, signal.SIGABRT):
            handler = signal.getsignal(number)
            if callable(handler):
                signal.signal(number, self._quiescing(handler))
            elif handler is signal.SIG_DFL and number in (signal.SIGTERM, signal.SIGINT):
                # UvicornWorker sends itself the signal again after its own orderly end.
                signal.signal(number, _exit_as_gunicorn_expects)
                self._listen_when_the_server_does()
        # signal() has undone what Gunicorn had chosen: open requests are not interrupted.
        signal.siginterrupt(signal.SIGTERM, False)

    def _quiescing(self, handler: Callable[[int, Any], Any]) -> Callable[[int, Any], None]:
        def quiesce_and_pass_on(number: int, frame: Any) -> None:
            self.quiesce()
            if handler in self._running_handlers:
                # At ^C the terminal tells the worker, and so does the arbiter. Gunicorn's handler takes a
                # lock (the pool's, in gthread): called inside of itself, it waits for ever.
                return
            self._running_handlers.append(handler)
            try:
                handler(number, frame)
            finally:
                self._running_handlers.remove(handler)

        return quiesce_and_pass_on

    def _listen_when_the_server_does(self) -> None:
        """Again at the first call of an ASGI application: then its server has set its own handlers."""
        application: Any = getattr(self._worker, "wsgi", None)
        if self._listens_late or not _is_asgi(application):
            return
        self._listens_late = True
        self._worker.wsgi = _calling_first(self._listen, application)

    def _beat(self) -> None:
        if self._heartbeat is not None:
            now = time.monotonic()  # What WorkerTmp.notify writes.
            os.utime(self._heartbeat, (now, now))


def _exit_as_gunicorn_expects(number: int, frame: Any) -> None:
    """End by SystemExit, so that the arbiter's code in this process calls worker_exit."""
    del number, frame
    sys.exit(0)


@contextmanager
def _nothing_but_sigkill_ends_this_early() -> Iterator[None]:
    """Ignore the signals that the arbiter repeats to a worker which is on its way out."""
    previous = {number: signal.getsignal(number) for number in _ENDING}
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _is_asgi(application: Any) -> bool:
    return inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(
        getattr(application, "__call__", None)  # noqa: B004 - not whether it can be called, but how
    )


type _Asgi = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


def _calling_first(function: Callable[[], None], application: _Asgi) -> _Asgi:
    was_called = False

    async def call_first(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        nonlocal was_called
        if not was_called:
            was_called = True
            function()
        await application(scope, receive, send)

    return call_first
