"""What an answer to "why does this job not run?" is made of, and what all gates ask.

Sentences are in the language that is active where somebody asks; codes are the same everywhere.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, cast

from django.utils.translation import gettext as _

from dj_queue.config import BackendConfig
from dj_queue.models import Job
from dj_queue.reads.health import LEADER_SILENCE
from dj_queue.reads.stats import ProcessStats, leaders, processes
from dj_queue.store import store_for
from dj_queue.store.shared import from_column


@dataclass(frozen=True, slots=True)
class Explanation:
    """What keeps a job from running now."""

    job_id: str
    code: str
    """Which gate it is; stable, for programs."""
    sentence: str
    remedy: str
    """What would open it; empty where nothing needs to be done."""
    state: str | None = None
    """The job's state; None where it has none."""
    queue_name: str | None = None
    details: tuple[tuple[str, Any], ...] = ()
    """What the sentence was made of: text, numbers, lists."""

    def as_dict(self) -> dict[str, Any]:
        """As plain data, fit for JSON."""
        return {**asdict(self), "details": dict(self.details)}


class Walk:
    """A job on its way past gates, and what is known of the processes of its backend."""

    def __init__(self, config: BackendConfig, job: Job) -> None:
        self.config = config
        self.database = config.options.database_alias
        self.job = job
        self.now = store_for(self.database).now()
        self._processes: list[ProcessStats] | None = None

    def without_dispatcher(self, state: str) -> Explanation | None:
        if not any(each.kind == "Dispatcher" and each.is_live for each in self.known()):
            return self.closed(
                "no_leader",
                _("No dispatcher lives, so what is due does not become ready."),
                _("Start a process that is not --only-work. %(start_one)s")
                % {"start_one": start_one()},
                state=state,
            )
        found = [each for each in leaders(self.config) if each.role == "dispatcher"]
        if not found or self.now - found[0].progress_at <= LEADER_SILENCE:
            return None
        return self.closed(
            "leader_stuck",
            _("%(process_name)s led as dispatcher last, and showed progress at %(progress_at)s.")
            % {"process_name": found[0].process_name, "progress_at": told(found[0].progress_at)},
            _("Look at its log; when that process ends, another one leads."),
            state=state,
        )

    def known(self) -> list[ProcessStats]:
        if self._processes is None:
            self._processes = processes(self.config, self.now)
        return self._processes

    def closed(
        self, code: str, sentence: str, remedy: str, *, state: str | None = None, **details: Any
    ) -> Explanation:
        job = self.job
        return Explanation(
            str(job.id), code, sentence, remedy, state, job.queue_name, tuple(details.items())
        )


def start_one() -> str:
    """What helps where something does not live that a process has."""
    return _(
        "Start a process that has one: `manage.py dj_queue`, or a web server with dj_queue "
        "embedded."
    )


def aware(moment: datetime) -> datetime:
    """A moment of a column, with its zone."""
    return cast("datetime", from_column(moment))


def told(moment: datetime) -> str:
    """The same as text."""
    return f"{aware(moment):%F %T %Z}"
