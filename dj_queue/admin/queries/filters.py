"""Which jobs a page shows and an action is for: read from an address, and written back into one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from dj_queue.states import JobState

ALL = "all"
STATES = (ALL, *(str(state) for state in JobState))


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Text by name as it stands in the address; empty means any."""

    state: str = ALL
    queue: str = ""
    task: str = ""
    """A task's path, or the beginning of one and `*`."""
    priority: str = ""
    error: str = ""
    """The class of the error of a failed job."""
    worker: str = ""
    key: str = ""
    """A concurrency key."""
    recurring: str = ""
    """The key of a recurring task."""
    since: str = ""
    until: str = ""
    """Enqueued from and before that, ISO 8601."""
    id: str = ""

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "JobFilter":
        """From an address or a form; raises `ValueError` for a state that there is not."""
        found = cls(
            **{each.name: (given.get(each.name) or "").strip() for each in fields(cls)}
            | {"state": given.get("state") or ALL}
        )
        if found.state not in STATES:
            raise ValueError(f"state: expected one of {', '.join(STATES)}, found {found.state!r}")
        return found

    @property
    def problems(self) -> list[str]:
        """What cannot be understood, in words for who typed it."""
        found = []
        if self.priority and _number(self.priority) is None:
            found.append(_("Priority: expected a whole number, found “%s”.") % self.priority)
        for label, text in ((_("From"), self.since), (_("Until"), self.until)):
            if text and moment(text) is None:
                found.append(
                    _(
                        "%(label)s: expected a date and time such as 2030-01-31T08:00, found “%(text)s”."
                    )
                    % {"label": label, "text": text}
                )
        if self.id and self.job_id is None:
            found.append(_("Id: “%s” is not the id of a job.") % self.id)
        return found

    @property
    def query(self) -> dict[str, str]:
        """What is set, for an address."""
        return {name: value for name, value in asdict(self).items() if value}

    @property
    def is_narrowed(self) -> bool:
        """Whether anything but the state is set."""
        return bool(self.query.keys() - {"state"})

    @property
    def job_id(self) -> UUID | None:
        """The id, if there is one and it is one."""
        try:
            return UUID(self.id)
        except ValueError:
            return None

    def describe(self) -> str:
        """The filter in one line, for confirmations and logs."""
        return ", ".join(f"{name}={value}" for name, value in self.query.items())

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a job with these values is meant; *row* has the names of this class's fields."""
        exact = (("queue", self.queue), ("error", self.error), ("key", self.key))
        if any(wanted and row.get(name) != wanted for name, wanted in exact):
            return False
        if self.worker and row.get("worker") != self.worker:
            return False
        if self.recurring and row.get("recurring") != self.recurring:
            return False
        if self.task and not _is_task(row["task"], self.task):
            return False
        if self.priority and row["priority"] != _number(self.priority):
            return False
        return self._is_in_time(row["created"])

    def _is_in_time(self, created: datetime) -> bool:
        since, until = moment(self.since), moment(self.until)
        return (since is None or created >= since) and (until is None or created < until)


def moment(text: str) -> datetime | None:
    """The time in *text*, as the columns of models have them; None when it is none."""
    try:
        found = parse_datetime(text)
    except ValueError:
        return None
    if found is None:
        return None
    from django.conf import settings

    if settings.USE_TZ and timezone.is_naive(found):
        return timezone.make_aware(found)
    if not settings.USE_TZ and timezone.is_aware(found):
        return timezone.make_naive(found)
    return found


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _is_task(path: str, wanted: str) -> bool:
    if wanted.endswith("*"):
        return path.startswith(wanted[:-1])
    return path == wanted
