"""Who runs here: processes with their parts, who leads, and what each worker does."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext as _

from dj_queue.admin.page import Page
from dj_queue.admin.queries.backlog import is_live, read_processes
from dj_queue.models import ClaimedExecution, Leadership, Process
from dj_queue.store.shared import from_column

# Running jobs that are shown by name.
_SHOWN = 100


@dataclass(slots=True)
class Part:
    """A row of a process: its supervisor or an actor."""

    row: Process
    is_live: bool
    leads: str = ""
    """The role that it leads in; empty for none."""
    running: list[Any] = field(default_factory=list)

    @property
    def facts(self) -> list[tuple[str, Any]]:
        """What it says about itself."""
        return sorted((self.row.metadata or {}).items())


@dataclass(slots=True)
class Family:
    """A process: its supervisor and what that runs."""

    head: Part
    members: list[Part]

    @property
    def is_well(self) -> bool:
        """Whether every part gives signs of life."""
        return self.head.is_live and all(each.is_live for each in self.members)

    @property
    def name(self) -> str:
        """Host and process id."""
        return f"{self.head.row.hostname}:{self.head.row.pid}"


def families(
    processes: list[Process], leaders: list[Leadership], now: datetime, threshold: timedelta
) -> list[Family]:
    """The processes of the backend, the newest first, with who leads."""
    leading = {
        row.process_name: row.role
        for row in leaders
        if row.expires_at is None or from_column(row.expires_at) > now  # type: ignore[operator]
    }
    parts = {
        row.pk: Part(row, is_live(row, now, threshold), leading.get(row.name, ""))
        for row in processes
    }
    found = {
        key: Family(part, []) for key, part in parts.items() if part.row.supervisor_id not in parts
    }
    for part in parts.values():
        if part.row.supervisor_id in found:
            found[part.row.supervisor_id].members.append(part)
    return sorted(found.values(), key=lambda family: -family.head.row.pk)


def leaderships(page: Page) -> list[Leadership]:
    """Who leads in which role, and since when."""
    rows = Leadership.objects.using(page.database).filter(backend_alias=page.config.alias)
    return list(rows.order_by("role"))


def processes(page: Page) -> HttpResponse:
    """`dj_queue_dashboard_processes`."""
    leaders = leaderships(page)
    threshold = timedelta(seconds=page.config.options.process_alive_threshold)
    found = families(read_processes(page.config), leaders, page.aware_now, threshold)
    _give_running(page, found)
    context = {
        "families": found,
        "leaderships": leaders,
        "lost_after": threshold,
    }
    return page.render("processes", "processes", _("Processes"), context)


def _give_running(page: Page, found: list[Family]) -> None:
    members = {each.row.pk: each for family in found for each in (family.head, *family.members)}
    claims = (
        ClaimedExecution.objects.using(page.database)
        .filter(process_id__in=list(members))
        .order_by("started_at")
        .values("process_id", "job_id", "started_at", "job__task_path", "job__queue_name")
    )
    for claim in claims[:_SHOWN]:
        members[claim["process_id"]].running.append(claim)
