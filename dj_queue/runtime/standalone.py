"""A supervisor that has a process to itself: what ends it, and that it ends in time.

One loop in the main thread waits for all reasons to end: a signal, a word of the parent (in fork mode), a
limit of `dj_queue.runtime.recycling`, an actor whose thread is gone. It polls only what cannot wake it.
"""

import os
import selectors
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from dj_queue import events
from dj_queue.runtime.exit_signals import ExitSignals
from dj_queue.runtime.lifeline import Heard, Lifeline
from dj_queue.runtime.recycling import LOOK_SECONDS, Recycling
from dj_queue.runtime.supervisor import Supervisor

# How often a thread that is gone, or a parent, is looked for.
_WATCH_SECONDS = 1.0

# With a dead parent there is no reason to take one's time: a new one may have started its own children.
_ORPHAN_SECONDS = 8.0

# From the end of the time to stop: what stop() itself may take beyond it, and a little for the interpreter.
_LAST_SECONDS = 1.2


class Ending(Enum):
    """What may end a supervisor."""

    ASKED = "it was asked to stop"
    USED_UP = "a limit of a worker was reached"
    ORPHANED = "the parent is dead"
    LOST_ACTOR = "a thread of the runtime is gone"


@dataclass(frozen=True, slots=True)
class End:
    """Why a supervisor has ended."""

    ending: Ending
    detail: str = ""
    """Which limit, or which thread."""

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.ending.value, self.detail)))


def run(
    supervisor: Supervisor,
    signals: ExitSignals,
    *,
    lifeline: Lifeline | None = None,
    owns_process: bool = False,
    statuses: Mapping[Ending, int] = {},
) -> End:
    """Run *supervisor* until there is a reason to end, and stop it in an orderly way.

    With *owns_process*, the process ends in time whatever holds it: threads that tasks have left behind
    would keep the interpreter alive for as long as they like. *statuses* are what it exits with then.
    """
    recycling = Recycling(supervisor)
    parent = os.getppid()
    supervisor.start()
    end = End(Ending.ASKED)
    try:
        if lifeline is not None:
            lifeline.say_started()
        end = _wait(supervisor, signals, recycling, lifeline, parent)
    finally:
        seconds = supervisor.config.options.shutdown_timeout
        if end.ending is Ending.ORPHANED:
            seconds = min(seconds, _ORPHAN_SECONDS)
        last_moment = time.monotonic() + seconds + _LAST_SECONDS
        with _ending_by(last_moment, statuses.get(end.ending, 0), wanted=owns_process):
            supervisor.stop(seconds)
    if end.ending is Ending.USED_UP:
        events.emit(events.ProcessUsedUp(supervisor.config.alias, supervisor.name, end.detail))
    return end


def _wait(
    supervisor: Supervisor,
    signals: ExitSignals,
    recycling: Recycling,
    lifeline: Lifeline | None,
    parent: int,
) -> End:
    seconds = LOOK_SECONDS if recycling.is_limited else _WATCH_SECONDS
    with selectors.DefaultSelector() as waiting:
        waiting.register(signals.asked.fileno(), selectors.EVENT_READ)
        if lifeline is not None:
            waiting.register(lifeline, selectors.EVENT_READ)
        while True:
            if signals.asked.is_set or supervisor.is_asked_to_stop:
                return End(Ending.ASKED)
            if lifeline is not None:
                said = lifeline.heard()
                if said is Heard.STOP:
                    return End(Ending.ASKED)
                # A job may have closed every descriptor; whose child one is, nobody can close.
                if said is Heard.END or os.getppid() != parent:
                    return End(Ending.ORPHANED)
            if lost := supervisor.lost_actors:
                return End(Ending.LOST_ACTOR, ", ".join(lost))
            if recycling.is_used_up():
                return End(Ending.USED_UP, recycling.reason or "")
            waiting.select(seconds)


@contextmanager
def _ending_by(deadline: float, status_after: int, *, wanted: bool) -> Iterator[None]:
    """End the process at *deadline* (monotonic) if it is still there, also after the block.

    Without an error in the block with *status_after*: all that was to be done is done, and what is left
    are threads of tasks for which the interpreter would wait.
    """
    status = 1

    def end() -> None:
        time.sleep(max(0.0, deadline - time.monotonic()))
        os._exit(status)

    if wanted:
        threading.Thread(target=end, name="dj_queue-deadline", daemon=True).start()
    yield
    status = status_after
