"""The table of queues, and one queue with its jobs."""

from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpResponse
from django.utils.translation import gettext as _

from dj_queue.admin import charts
from dj_queue.admin.page import Page
from dj_queue.admin.pages.jobs import job_table
from dj_queue.admin.queries import spans
from dj_queue.admin.queries.backlog import Backlog, QueueLine, read_backlog
from dj_queue.admin.queries.filters import JobFilter
from dj_queue.admin.sections import Section, section
from dj_queue.reads import throughput
from dj_queue.reads.throughput import Throughput
from dj_queue.states import JobState

_COLUMNS: dict[str, Any] = {
    "name": lambda row: row.line.name,
    "ready": lambda row: row.line.ready,
    "wait": lambda row: row.line.latency,
    "claimed": lambda row: row.line.claimed,
    "scheduled": lambda row: row.line.scheduled,
    "blocked": lambda row: row.line.blocked,
    "failed": lambda row: row.line.failed,
    "workers": lambda row: row.line.workers,
    "ended": lambda row: row.ended.ended if row.ended else 0,
    "paused": lambda row: row.line.paused_since is not None,
}


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A line of the table."""

    line: QueueLine
    ended: Throughput | None
    """What ended in the last hour, where somebody asked."""


def queue_section(
    page: Page, backlog: Backlog, ended: dict[str, Throughput] | None = None
) -> Section[QueueRow]:
    """The table of queues, for the overview and for its own page."""
    rows = [
        QueueRow(line, (ended or {}).get(line.name, Throughput()) if ended is not None else None)
        for line in backlog.queues
    ]
    return section("queues", rows, _COLUMNS, page.request.GET, size=18)


def queues(page: Page) -> HttpResponse:
    """`dj_queue_dashboard_queues`."""
    backlog = read_backlog(page.config, page.aware_now)
    hour = spans.SPANS["1h"]
    ended = throughput.by_queue(page.database, page.config.alias, backlog.now - hour.length)
    for name in ended:
        if all(line.name != name for line in backlog.queues):
            backlog.queues.append(QueueLine(name))
    backlog.queues.sort(key=lambda line: line.name)
    context = {"queues": queue_section(page, backlog, ended), "backlog": backlog}
    return page.render("queues", "queues", _("Queues"), context)


def queue(page: Page, queue_name: str) -> HttpResponse:
    """`dj_queue_dashboard_queue`; 404 for a state that there is not."""
    try:
        wanted = JobFilter.read({**page.request.GET.dict(), "queue": queue_name})
    except ValueError as error:
        raise Http404(str(error)) from None
    if "state" not in page.request.GET:
        wanted = JobFilter.read({**wanted.query, "state": JobState.READY})
    backlog = read_backlog(page.config, page.aware_now, queue_name)
    span = spans.chosen(page.request.GET.get("span"))
    history = spans.series(page.config, backlog.now, span, queue_name)
    line = backlog.queue(queue_name)
    context = {
        "queue": QueueRow(line, None),
        "queue_name": queue_name,
        "charts": charts.history(history, span)[:1],
        **job_table(page, wanted, backlog, queue_name=queue_name),
    }
    return page.render("queue", "queues", _("Queue “%(name)s”") % {"name": queue_name}, context)
