"""What the page shows of a picture: what the queue knows of its job, in words for people."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.tasks import TaskResult, TaskResultStatus
from django.tasks.exceptions import TaskResultDoesNotExist

from dj_queue.exceptions import ProcessExitError, ProcessMissingError, ProcessPrunedError
from thumbnails.imaging import PictureError
from thumbnails.models import Picture
from thumbnails.tasks import make_thumbnails


class State(StrEnum):
    """Where the work on a picture is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


_STATES = {
    TaskResultStatus.READY: State.WAITING,
    TaskResultStatus.RUNNING: State.RUNNING,
    TaskResultStatus.SUCCESSFUL: State.DONE,
    TaskResultStatus.FAILED: State.FAILED,
}

LOST = "We lost track of this picture. Please try again."
INTERRUPTED = "The server stopped while it worked on this picture. Please try again."
OUR_FAULT = "Something went wrong on our side. Please try again."


@dataclass(frozen=True)
class Report:
    """How a picture is doing."""

    picture: Picture
    state: State
    problem: str = ""
    """A sentence, when it failed."""
    made: tuple[dict[str, Any], ...] = ()
    """Size, width, height and bytes of each thumbnail, largest first."""
    source_bytes: int = 0
    waited_seconds: float | None = None
    took_seconds: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it may still change by itself."""
        return self.state in (State.WAITING, State.RUNNING)

    @property
    def version(self) -> str:
        """Changes when what is shown changes."""
        return f"{self.picture.job_id}-{self.state}-{self.picture.percent}"

    @property
    def shown(self) -> dict[str, Any] | None:
        """The thumbnail for the page itself: the largest of up to 800 pixels."""
        return next((each for each in self.made if each["size"] <= 800), None)


def report_on(picture: Picture) -> Report:
    """Ask the queue about a picture's job.

    One SELECT. That is fine for a page of a few dozen; a page of thousands would note the outcome in a
    column of its own, at the end of the task.
    """
    try:
        result = make_thumbnails.get_result(picture.job_id)
    except TaskResultDoesNotExist:
        return Report(picture, State.FAILED, LOST)
    state = _STATES[result.status]
    value = result.return_value if state is State.DONE else None
    return Report(
        picture,
        state,
        problem=_problem(result) if state is State.FAILED else "",
        made=tuple(value["thumbnails"]) if value else (),
        source_bytes=value["source_bytes"] if value else 0,
        waited_seconds=_seconds(result.enqueued_at, result.started_at),
        took_seconds=_seconds(result.last_attempted_at, result.finished_at),
    )


def summary(reports: Iterable[Report]) -> str:
    """The state of all work in one sentence; `site.js` says the same of what it sees."""
    states = [report.state for report in reports]
    if not states:
        return ""
    parts = [f"{states.count(State.DONE)} of {len(states)} ready"]
    for state, words in (
        (State.RUNNING, "in work"),
        (State.WAITING, "waiting"),
        (State.FAILED, "failed"),
    ):
        if number := states.count(state):
            parts.append(f"{number} {words}")
    return ", ".join(parts) + "."


def _problem(result: TaskResult) -> str:
    """Why a job failed, from the class of its error; its text and traceback are not for visitors."""
    try:
        kind = result.errors[-1].exception_class
    except (IndexError, ImportError, ValueError):
        return OUR_FAULT
    if issubclass(kind, PictureError):
        return kind.sentence
    if issubclass(kind, ProcessExitError | ProcessMissingError | ProcessPrunedError):
        return INTERRUPTED
    return OUR_FAULT


def _seconds(since: datetime | None, until: datetime | None) -> float | None:
    return None if since is None or until is None else (until - since).total_seconds()
