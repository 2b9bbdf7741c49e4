"""Runs jobs inside a WSGI server: `application = DjQueueWSGI(get_wsgi_application())`.

WSGI has no word for the start and the end of a server, so the wrapper looks where it is:

===================================  =====================================  =============================
server                               the runtime starts                     and stops
===================================  =====================================  =============================
uWSGI                                in each worker, after its fork         when the worker exits
`manage.py runserver`                with the site (not in the              at once
                                     autoreloader's parent)
waitress-serve                       with the site                          at SIGTERM, ^C
mod_wsgi                             when a process loads the application   when the process is told to end
all others (granian)                 at the first request of each process   when the process exits
===================================  =====================================  =============================

A server that is started from Python calls `start` and `stop` of this module where it knows better.
Gunicorn has hooks: see `dj_queue.contrib.gunicorn`.

Nothing of Django is imported with this module.
"""

import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, MutableMapping
from pathlib import PurePath
from typing import Any

from dj_queue.contrib._hold import Hold

__all__ = ["DjQueueWSGI", "start", "stop"]

type Environ = MutableMapping[str, Any]
type StartResponse = Callable[..., Any]
type Application = Callable[[Environ, StartResponse], Iterable[bytes]]

_logger = logging.getLogger("dj_queue.supervisor")

# The autoreloader waits for the end of its child, and kills it 0.25 s after ^C.
_RUNSERVER_SECONDS = 0.0

# Apache kills a process of mod_wsgi 3 s after it has asked it to end.
_MOD_WSGI_SECONDS = 1.5

# Guards _holds.
_lock = threading.Lock()
_holds: dict[str, Hold] = {}


class DjQueueWSGI:
    """A WSGI application that runs the jobs of *backend_alias* as long as its process lives.

    A runtime that cannot be started (a wrong setting, not a database that is down: that is waited for)
    is logged, and the site is served without it. With *required*, `NotStarted` is raised instead: here,
    so that the server does not start, or in each request where only a request can tell.
    """

    def __init__(
        self, app: Application, *, backend_alias: str = "default", required: bool = False
    ) -> None:
        self.app = app
        self._hold = _hold_of(backend_alias)
        self._required = required
        # Guards the start by the first of several requests that come at once.
        self._starting = threading.Lock()
        if required:
            _check_settings(backend_alias)
        _start_here(self._hold)
        self._raise_refusal()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request; the first one of a process starts the runtime if nothing else has."""
        if not self._hold.was_tried:
            self._start_late()
        self._raise_refusal()
        return self.app(environ, start_response)

    def _start_late(self) -> None:
        with self._starting:
            if self._hold.was_tried:
                return
            if self._hold.is_running_already:
                self._hold.leave_to_others()
            else:
                _start(self._hold)

    def _raise_refusal(self) -> None:
        if self._required and (refusal := self._hold.refusal):
            raise _not_started(refusal)


def start(backend_alias: str = "default", *, required: bool = False) -> bool:
    """Run the jobs of *backend_alias* in this process from now on; whether they do.

    For servers that are started from Python, in the process that serves and after all forks. Django must
    be set up. Once is enough, a second call changes nothing. With *required*, raises `NotStarted`.
    """
    refusal = _start(_hold_of(backend_alias))
    if refusal is not None and required:
        raise _not_started(refusal)
    return refusal is None


def stop(backend_alias: str = "default", timeout: float | None = None) -> bool:
    """Stop what `start` or `DjQueueWSGI` has started in this process; whether all threads ended in time.

    Jobs that run get *timeout* seconds, by default `OPTIONS["shutdown_timeout"]`. Without this call the
    same is done when the process exits in Python's way.
    """
    return _hold_of(backend_alias).stop(timeout)


def _hold_of(backend_alias: str) -> Hold:
    with _lock:
        if backend_alias not in _holds:
            _holds[backend_alias] = Hold(backend_alias, seconds=_seconds_to_end())
        return _holds[backend_alias]


def _seconds_to_end() -> float | None:
    """What running jobs get at the end, where the server allows less than the setting may ask for."""
    if _is_runserver():
        return _RUNSERVER_SECONDS
    if _mod_wsgi() is not None:
        return _MOD_WSGI_SECONDS
    return None


def _start_here(hold: Hold) -> None:
    """Start now, or arrange the start, where this process is known to be the one that serves."""
    uwsgi = _uwsgi()
    if uwsgi is not None:
        _start_in_workers(uwsgi, hold)
    elif (_is_runserver() and _is_reloaded()) or _is_waitress() or _mod_wsgi() is not None:
        _start(hold)


def _start(hold: Hold) -> str | None:
    refusal = hold.start()
    if refusal is None:
        if not hold.stops_at_exit:
            _stop_when_mod_wsgi_does(hold)
        hold.stop_at_exit()
        # uWSGI and mod_wsgi have handlers of their own, in C: those stay.
        hold.heed_sigterm(stops=True, takes_default=True)
    return refusal


def _is_runserver() -> bool:
    return sys.argv[1:2] == ["runserver"]


def _is_reloaded() -> bool:
    """Whether this is the process of `runserver` that serves, and not the one that watches it."""
    return "--noreload" in sys.argv or os.environ.get("RUN_MAIN") == "true"


def _is_waitress() -> bool:
    """Whether waitress was started from a shell: then there is one process, and it is this."""
    program = PurePath(sys.argv[0])
    return program.stem == "waitress-serve" or program.parts[-2:] == ("waitress", "__main__.py")


def _mod_wsgi() -> Any:
    """The module by which mod_wsgi tells applications in Apache where they are.

    An application is loaded only in a process that serves it. The package of that name, which a project
    may have among its INSTALLED_APPS, says nothing about the server.
    """
    module = sys.modules.get("mod_wsgi")
    return module if hasattr(module, "process_group") else None


def _stop_when_mod_wsgi_does(hold: Hold) -> None:
    """At the start of its end: what is called at exit is called when all requests have ended, or never.

    The 3 s until Apache kills are for the open requests, too.
    """
    subscribe = getattr(_mod_wsgi(), "subscribe_shutdown", None)
    if subscribe is not None:
        # In a thread, since mod_wsgi waits for what it calls before it waits for requests.
        subscribe(
            lambda *_, **__: threading.Thread(
                target=hold.stop, name="dj_queue-mod_wsgi", daemon=True
            ).start()
        )


def _uwsgi() -> Any:
    """uWSGI's own module, which only exists inside of it."""
    try:
        return importlib.import_module("uwsgi")
    except ImportError:
        return None


def _start_in_workers(uwsgi: Any, hold: Hold) -> None:
    if uwsgi.worker_id() > 0:
        _start(hold)  # With --lazy-apps, each worker loads the application itself.
    elif uwsgi.masterpid() > 0:
        _after_fork(uwsgi, lambda: _start(hold))
    # Without a master there is no hook: the first request starts it.


def _after_fork(uwsgi: Any, function: Callable[[], object]) -> None:
    """Have *function* called in each worker of uWSGI, and in what replaces it."""
    # This raises without a master, so it must not be asked earlier.
    decorators = importlib.import_module("uwsgidecorators")

    def call_in_workers() -> None:
        if uwsgi.worker_id() > 0:  # Mules and spoolers are forked, too.
            _discard_what_the_master_opened()
            function()

    decorators.postfork(call_in_workers)


def _discard_what_the_master_opened() -> None:
    """uWSGI forks without calling Python's hooks for that, so ours have not seen it."""
    embedded = sys.modules.get("dj_queue.runtime.embedded")
    if embedded is not None:
        embedded.discard_inherited_connections()


def _check_settings(backend_alias: str) -> None:
    from dj_queue.config import load_backend_config
    from dj_queue.exceptions import ConfigurationError

    try:
        load_backend_config(backend_alias)
    except ConfigurationError as error:
        raise _not_started(str(error)) from error


def _not_started(refusal: str) -> Exception:
    from dj_queue.exceptions import NotStarted

    return NotStarted(f"dj_queue could not be started in this server: {refusal}")
