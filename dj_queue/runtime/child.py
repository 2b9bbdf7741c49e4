"""A child process that runs the jobs of a worker, one at a time: `main` is all that it does.

    starting ──ready──► idle ──job──► busy ──outcome──► idle ...
                          │             └─worker's end closed─► dead at once
                          └─worker's end closed─► ends

It decides nothing: the worker writes outcomes and judges what became of the child. A worker that is dead
cannot do that, and its jobs are for others to recover; so a busy child dies with it. Only it knows when a
job begins: it says so to the worker, and notes it in the worker's journal for those others.
"""

import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dj_queue.runtime.child_messages import Channel, job_of, outcome_message
from dj_queue.runtime.journal import Share
from dj_queue.store.records import ClaimedJob

# Requests are answered first; a child that computes gets what is left.
_NICENESS = 10

_PR_SET_PDEATHSIG = 1

_for_ever = ExitStack()

# They are meant for the worker, which gives jobs time to end.
_NOT_OURS = (signal.SIGTERM, signal.SIGINT)


def main() -> None:
    """Run jobs as the process at the other end of standard input says, until it closes that."""
    parent = os.getppid()
    _step_back()
    _die_with(parent)
    channel = Channel.from_standard_input()
    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_OURS),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _NOT_OURS),
        after_in_child=lambda: _let_go(channel),
    )
    for number in _NOT_OURS:
        # Not SIG_IGN, which whatever a task starts would inherit.
        signal.signal(number, _take_no_notice)
    greeting = channel.receive(_always)
    if greeting is None:
        return
    try:
        is_stopping = threading.Event()
        run = _set_up(greeting, channel, is_stopping)
    except BaseException as error:  # noqa: BLE001 - a project's start may fail in any way
        traceback.print_exc()
        channel.send({"failed": f"{type(error).__name__}: {error}"})
        sys.exit(1)
    _serve(channel, run, is_stopping)


def _serve(channel: Channel, run: Any, is_stopping: threading.Event) -> None:
    inbox = _Inbox(channel, is_stopping)
    try:
        channel.send({"ready": True})
        inbox.start()
        while (message := inbox.take()) is not None:
            answer = run(message)
            # First: whoever has the answer may send the next job before this thread goes on.
            inbox.is_busy = False
            channel.send(answer)
    except OSError:
        # Nobody hears of the outcome, because the worker is dead or the task closed what is not its own.
        os._exit(1)


class _Inbox:
    """A thread that listens while a job runs, to notice at once that the worker is gone."""

    def __init__(self, channel: Channel, is_stopping: threading.Event) -> None:
        self.is_busy = False
        self._is_stopping = is_stopping
        self._channel = channel
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def start(self) -> None:
        """Listen from now on."""
        threading.Thread(target=self._listen, name="dj_queue-inbox", daemon=True).start()

    def take(self) -> Any | None:
        """Wait for a job; None when there will be none any more."""
        return self._messages.get()

    def _listen(self) -> None:
        while (message := self._channel.receive(_always)) is not None:
            if "stopping" in message:
                self._is_stopping.set()
                continue
            self.is_busy = True
            self._messages.put(message)
        if self.is_busy:
            os._exit(1)
        self._messages.put(None)


def _set_up(greeting: dict[str, Any], channel: Channel, is_stopping: threading.Event) -> Any:
    """Make Django ready as the worker has it; a function from a message with a job to its answer."""
    import django

    django.setup()

    from dj_queue.config import backend_config, using_file
    from dj_queue.runtime.clock import DatabaseClock
    from dj_queue.runtime.executor import TaskRunner

    chosen, alias = greeting["chosen_file"], greeting["alias"]
    if chosen is not None:
        # Jobs that enqueue must write to where the worker reads.
        _for_ever.enter_context(using_file(*chosen))
    config = backend_config(alias)
    options = replace(config.options, max_result_bytes=greeting["max_result_bytes"])
    clock = DatabaseClock()
    beginnings = _Beginnings(channel, greeting["journal"])
    runner = TaskRunner(
        replace(config, options=options),
        greeting["worker_name"],
        clock,
        noting=beginnings.noting,
        importing=beginnings.importing,
        is_stopping=is_stopping.is_set,
    )

    def run(message: dict[str, Any]) -> dict[str, Any]:
        job, now = job_of(message["job"]), message["now"]
        clock.set(type(job.created_at).fromisoformat(now))
        beginnings.place = message["place"]
        return outcome_message(runner.run(job))

    return run


class _Beginnings:
    """Tells the worker that a job begins, and notes it in the worker's journal, if there is one."""

    def __init__(self, channel: Channel, journal: str | None) -> None:
        self.place: int | None = None
        """Where to note the next one."""
        self._channel = channel
        self._share: Share | None = None
        if journal is not None:
            # One that was removed is of no use to anybody: without it, all that was claimed counts as begun.
            with suppress(FileNotFoundError):
                self._share = Share(Path(journal))

    def noting(self, job: ClaimedJob) -> Callable[[], None]:
        """What does both when it is called."""
        note = None
        if self._share is not None and self.place is not None:
            note = self._share.noting(job.claim, self.place)

        def begin() -> None:
            self._channel.send({"begins": True})
            # Last, for nothing may come between this and the job.
            if note is not None:
                note()

        return begin

    @contextmanager
    def importing(self, job: ClaimedJob) -> Iterator[None]:
        """Tell and note, for a block, that the module of *job* is being imported."""
        self._channel.send({"imports": True})
        with ExitStack() as note:
            if self._share is not None and self.place is not None:
                note.enter_context(self._share.importing(job.claim, self.place))
            try:
                yield
            finally:
                self._channel.send({"imports": False})


def _step_back() -> None:
    with suppress(OSError, AttributeError):
        os.nice(_NICENESS)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, where it can.

    The thread that listens needs the interpreter's lock for that, which a long call into C may hold for
    as long as it likes.
    """
    if sys.platform != "linux":
        return
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _let_go(channel: Channel) -> None:
    """In a process that a task forked: it must neither look like the child nor be as deaf as it is.

    Signals that came since the fork were kept back: Python would have forgotten them.
    """
    channel.close()
    for number in _NOT_OURS:
        with suppress(ValueError):  # Not in the main thread, where Python does not let it.
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _NOT_OURS)


def _take_no_notice(_number: int, _frame: object) -> None:
    return


def _always() -> bool:
    return True
