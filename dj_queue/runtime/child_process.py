"""A worker's handle of one child process: start it, have it run jobs, end it.

A child is a fresh interpreter, and not a fork of a web server with all its threads and connections. It
is not the project's own script run once more either, which may have no `__main__` guard.
"""

import os
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import datetime
from multiprocessing import spawn
from pathlib import Path
from typing import Any

from django.conf import Settings, UserSettingsHolder, settings

from dj_queue.config import BackendConfig, chosen_file
from dj_queue.exceptions import ConfigurationError, NotStarted
from dj_queue.runtime.child_messages import Channel, job_message, outcome_of
from dj_queue.runtime.forks import how_it_ended
from dj_queue.store.records import ClaimedJob, Outcome

# With the worker's own path: that has what a server or `manage.py` has added to it.
_PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from dj_queue.runtime.child import main; main()"

# How long a child may take to end that has nothing more to do; threads of tasks may keep it.
_RETIRE_SECONDS = 2.0


class Child:
    """One child. Used by one thread; only `kill` and `tell_stopping` may be called from any."""

    def __init__(self, name: str) -> None:
        """Start the process, which is not `greet`ed yet. Raises `OSError` when there can be none."""
        self._channel, theirs = Channel.pair()
        # Guards what is sent, so that a message stays whole.
        self._sending = threading.Lock()
        self._is_stopping = False
        self.was_importing = False
        """Whether the last that was heard of the child was that it imports the module of its job."""
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [_interpreter(), "-c", _PROGRAM, f"dj_queue:{name}", *sys.path],
                stdin=theirs.fileno(),
                env={**os.environ, "DJANGO_SETTINGS_MODULE": settings_module() or ""},
            )
        except BaseException:
            self._channel.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def greet(self, greeting: dict[str, Any]) -> None:
        """Wait until the child can run jobs; raises `NotStarted` that says why it cannot."""
        with suppress(OSError):
            self._channel.send(greeting)
        answer = self._answer()
        if answer is None:
            raise NotStarted(self.how_it_ended())
        if "failed" in answer:
            raise NotStarted(f"since Django could not be set up in it ({answer['failed']})")

    def run(self, job: ClaimedJob, now: datetime, place: int | None) -> Outcome | None:
        """Have *job* run (*now* by the database's clock) and wait for its outcome.

        *place* is where the child notes in the journal that the job begins. None when the child died of it,
        see `was_importing`. Raises `NotStarted` when it died before the job began.
        """
        with suppress(OSError), self._sending:
            self._channel.send({"job": job_message(job), "now": now.isoformat(), "place": place})
        if self._is_stopping:
            self.tell_stopping()
        has_begun = False
        while (answer := self._answer()) is not None:
            if "imports" in answer:
                self.was_importing = answer["imports"]
            elif "begins" in answer:
                has_begun = True
            else:
                return outcome_of(answer, job)
        if not has_begun and not self.was_importing:
            raise NotStarted(self.how_it_ended())
        return None

    def tell_stopping(self) -> None:
        """Let the job in the child know that its worker is about to stop. Waits for nobody."""
        self._is_stopping = True
        # Who holds the lock tells it afterwards.
        if self._sending.acquire(blocking=False):
            try:
                with suppress(OSError):
                    self._channel.send_if_room({"stopping": True})
            finally:
                self._sending.release()

    def retire(self) -> None:
        """End a child that has nothing to do, at last by force."""
        self._channel.close()
        try:
            self._process.wait(_RETIRE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def how_it_ended(self) -> str:
        """What became of a child that does not answer, in words that follow "it ended"."""
        try:
            status = self._process.wait(_RETIRE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
            return "in a way that nobody knows: it closed its connection and lived on"
        return how_it_ended(status)

    def _answer(self) -> Any | None:
        return self._channel.receive(lambda: self.is_alive)


def greeting(config: BackendConfig, worker_name: str, journal: Path | None) -> dict[str, Any]:
    """What a child has to know to run jobs like this process, and to note in its *journal* what it begins."""
    chosen = chosen_file()
    return {
        "alias": config.alias,
        "worker_name": worker_name,
        "max_result_bytes": config.options.max_result_bytes,
        "journal": None if journal is None else str(journal),
        "chosen_file": None if chosen is None else [chosen.path, chosen.alias],
    }


def check(config: BackendConfig) -> None:
    """Raise `ConfigurationError` when no child could have this process's settings."""
    if settings_module() is None:
        raise ConfigurationError(
            f"TASKS[{config.alias!r}]['OPTIONS']['workers'] has a worker with 'executor': 'process', "
            "whose child processes read the settings module that DJANGO_SETTINGS_MODULE names; "
            "here settings come from settings.configure()"
        )


def settings_module() -> str | None:
    """The module that the settings come from; None for `settings.configure()`."""
    bool(settings.DEBUG)  # They are lazy.
    lazy: Any = settings
    found = lazy._wrapped  # noqa: SLF001
    while isinstance(
        found, UserSettingsHolder
    ):  # What tests override lies above what they began with.
        found = found.default_settings
    return found.SETTINGS_MODULE if isinstance(found, Settings) else None


def _interpreter() -> str:
    """Python; where it is part of another program (uWSGI), the one that belongs to its libraries."""
    named = os.fsdecode(spawn.get_executable() or "")
    if "python" in Path(named).name or "pypy" in Path(named).name:
        return named
    beside = Path(sys.prefix) / "bin" / "python3"
    return str(beside) if beside.exists() else named
