"""Fork mode: a parent that watches children, each a process with a smaller supervisor of its own.

    due ──start──► starting ──says so──► running ──┬─ended─────► due, after a growing delay
                      └────────────────────────────┴─used up───► due, at once

A child is the parent's command line run once more, as a fresh interpreter: nothing is copied that a thread
or a connection of the parent could have left in the middle of something. The parent itself has one thread
and no database connection. Its only memory of a child is the socket between them (`lifeline`).
"""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from dj_queue import events
from dj_queue.config import BackendConfig
from dj_queue.exceptions import ConfigurationError
from dj_queue.runtime.exit_signals import ExitSignals
from dj_queue.runtime.lifeline import CHILD_VARIABLE, Lifeline
from dj_queue.runtime.scheduler import has_work

USED_UP_STATUS = 75
"""With what a child ends that wants to be replaced; sysexits.h has it for "try again"."""

CONFIGURATION_STATUS = 78
"""With what a child ends whose configuration cannot be used; sysexits.h again."""

_DISPATCHERS = "dispatchers"

# Beyond shutdown_timeout: what a child itself may take, and then some.
_GRACE_SECONDS = 2.0

# How often children are looked at that say nothing, and those whose end of the socket is closed already.
_WATCH_SECONDS = 1.0
_REAP_SECONDS = 0.02

_FIRST_DELAY = 0.1
_MAX_DELAY = 30.0
_STEADY_SECONDS = 60.0


class RestartDelay:
    """How long to wait before a crashed child is started again: 0, 0.1, 0.2, 0.4 ... 30 s."""

    def __init__(self) -> None:
        self._crashes = 0

    def after(self, lived: float) -> float:
        """The delay after one more crash; a child that lived for a minute starts a new count."""
        if lived >= _STEADY_SECONDS:
            self._crashes = 0
        self._crashes += 1
        if self._crashes == 1:
            return 0.0
        # The exponent is bounded: a float has an end, and a child may crash for weeks.
        return min(_MAX_DELAY, _FIRST_DELAY * 2.0 ** min(self._crashes - 2, 32))


def child_names(config: BackendConfig, *, workers: bool, dispatchers: bool) -> list[str]:
    """The children of *config*: `processes` for each worker, one for dispatchers and scheduler."""
    leads = dispatchers and (config.options.dispatchers or has_work(config))
    names = [_DISPATCHERS] if leads else []
    for number, worker in enumerate(config.options.workers if workers else (), start=1):
        names += [f"worker-{number}-{copy}" for copy in range(1, worker.processes + 1)]
    return names


def dispatches(name: str) -> bool:
    """Whether the child called *name* has the dispatchers and the scheduler."""
    return name == _DISPATCHERS


def config_of_child(config: BackendConfig, name: str) -> BackendConfig:
    """*config* with no more than what the child called *name* runs."""
    options = config.options
    if dispatches(name):
        return replace(config, options=replace(options, workers=()))
    try:
        worker = options.workers[int(name.split("-")[1]) - 1]
    except (IndexError, ValueError):
        # The configuration was changed since the parent read it.
        raise ConfigurationError(
            f"there is no worker for the child process {name!r} any more; restart the parent"
        ) from None
    return replace(config, options=replace(options, workers=(worker,), dispatchers=()))


@dataclass(slots=True)
class _Child:
    name: str
    delay: RestartDelay
    due_at: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    lifeline: Lifeline | None = None
    started_at: float = 0.0
    is_up: bool = False


class Forks:
    """The parent of fork mode."""

    def __init__(self, config: BackendConfig, names: Sequence[str], signals: ExitSignals) -> None:
        self._config = config
        self._children = [_Child(name, RestartDelay()) for name in names]
        self._signals = signals
        self._was_up = False

    def run(self, up: Callable[[], object]) -> None:
        """Keep the children running until a signal asks to stop, and stop them; *up* when all run.

        Raises `ConfigurationError` when one of them cannot use its configuration before all run. Later
        that counts as a crash: a settings file that is broken while children are replaced must not end
        those that still run.
        """
        self._signals.before_ending_at_once(self._kill_all)
        try:
            while not self._signals.asked.is_set:
                self._start_due()
                self._look_after_all()
                if not self._was_up and all(child.is_up for child in self._children):
                    self._was_up = True
                    up()
                self._wait(self._seconds_to_next())
        finally:
            self._stop()

    @property
    def _living(self) -> list[_Child]:
        return [child for child in self._children if child.process is not None]

    def _start_due(self) -> None:
        for child in self._children:
            if child.process is None and time.monotonic() >= child.due_at:
                self._start(child)

    def _start(self, child: _Child) -> None:
        ours, theirs = Lifeline.pair()
        child.started_at, child.is_up = time.monotonic(), False
        try:
            child.process = subprocess.Popen(  # noqa: S603 - our own command line
                # All of it, options of the interpreter included.
                [sys.executable, *sys.orig_argv[1:]],
                stdin=theirs.fileno(),
                env={**os.environ, CHILD_VARIABLE: child.name},
            )
            child.lifeline = ours
        except OSError as error:
            ours.close()
            self._crashed(child, pid=0, how=f"since it could not be started ({error})")
        finally:
            theirs.close()

    def _look_after_all(self) -> None:
        for child in self._living:
            self._listen(child)
            self._reap(child)

    def _listen(self, child: _Child) -> None:
        if child.lifeline is None or child.process is None:
            return
        said = child.lifeline.heard_started()
        if said is None:
            child.lifeline.close()
            child.lifeline = None
        elif said:
            child.is_up = True
            events.emit(events.ChildStarted(self._config.alias, child.name, child.process.pid))

    def _reap(self, child: _Child) -> None:
        if child.process is None or (status := child.process.poll()) is None:
            return
        pid = child.process.pid
        self._forget(child)
        if self._signals.asked.is_set:
            return
        if status == USED_UP_STATUS:
            child.due_at = 0.0
            events.emit(events.ChildReplaced(self._config.alias, child.name, pid))
        elif status == CONFIGURATION_STATUS and not self._was_up:
            raise ConfigurationError(
                f"the child process {child.name!r} cannot use its configuration; it says why above"
            )
        else:
            self._crashed(child, pid, how_it_ended(status))

    def _crashed(self, child: _Child, pid: int, how: str) -> None:
        now = time.monotonic()
        lived = now - child.started_at
        delay = child.delay.after(lived)
        child.due_at = now + delay
        events.emit(
            events.ChildEnded(
                self._config.alias,
                child.name,
                pid,
                how,
                timedelta(seconds=lived),
                timedelta(seconds=delay),
            )
        )

    def _forget(self, child: _Child) -> None:
        if child.lifeline is not None:
            child.lifeline.close()
        child.process = child.lifeline = None
        child.is_up = False

    def _seconds_to_next(self) -> float:
        now = time.monotonic()
        due = [child.due_at - now for child in self._children if child.process is None]
        closing = [_REAP_SECONDS for child in self._living if child.lifeline is None]
        return max(0.0, min([_WATCH_SECONDS, *due, *closing]))

    def _wait(self, seconds: float) -> None:
        """Sleep until a child says something or dies, or a signal asks to stop, at most *seconds*."""
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._signals.asked.fileno(), selectors.EVENT_READ)
            for child in self._living:
                if child.lifeline is not None:
                    waiting.register(child.lifeline, selectors.EVENT_READ)
            waiting.select(seconds)

    def _stop(self) -> None:
        deadline = time.monotonic() + self._config.options.shutdown_timeout + _GRACE_SECONDS
        for child in self._living:
            # Not with a signal: who signals the whole group has done that already, and a second one
            # would end the child at once.
            if child.lifeline is not None:
                child.lifeline.say_stop()
            elif child.process is not None:
                child.process.terminate()
        while self._living and (left := deadline - time.monotonic()) > 0:
            self._wait_for_end(left)
        for child in self._living:
            self._kill(child)

    def _wait_for_end(self, seconds: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            process = self._living[0].process
            if process is not None:
                process.wait(min(seconds, _WATCH_SECONDS))
        for child in self._living:
            if child.process is not None and child.process.poll() is not None:
                self._forget(child)

    def _kill(self, child: _Child) -> None:
        if child.process is not None:
            child.process.kill()
            child.process.wait()
            events.emit(events.ChildKilled(self._config.alias, child.name, child.process.pid))
            self._forget(child)

    def _kill_all(self) -> None:
        for child in self._living:
            if child.process is not None and child.process.returncode is None:
                with suppress(OSError):
                    os.kill(child.process.pid, signal.SIGKILL)


def how_it_ended(status: int) -> str:
    """The exit status of a child (negative for a signal), in words that follow "it ended"."""
    if status >= 0:
        return f"with exit status {status}"
    try:
        return f"by signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"by signal {-status}"
