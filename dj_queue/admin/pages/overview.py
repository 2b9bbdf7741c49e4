"""The first page: is everything well, and if not, what is it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from dj_queue import wording
from dj_queue.admin import charts
from dj_queue.admin.page import Page
from dj_queue.admin.pages.processes import families, leaderships
from dj_queue.admin.pages.queues import queue_section
from dj_queue.admin.pages.recurring import recurring_section
from dj_queue.admin.queries import spans
from dj_queue.admin.queries.backlog import Backlog, read_backlog
from dj_queue.admin.queries.failures import grouped
from dj_queue.models import Leadership
from dj_queue.reads.health import hearing_problems, process_problems, retention_problems
from dj_queue.states import JobState


@dataclass(frozen=True, slots=True)
class Health:
    """How it is, in a colour and in words."""

    level: str
    """`good`, `warning` or `bad`."""
    headline: str
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class Card:
    """A number with a name, and the page about it."""

    label: str
    value: str
    url: str
    note: str = ""
    level: str = ""


def overview(page: Page) -> HttpResponse:
    """`dj_queue_dashboard_changelist`."""
    backlog = read_backlog(page.config, page.aware_now)
    span = spans.chosen(page.request.GET.get("span"))
    history = spans.series(page.config, backlog.now, span)
    leading = leaderships(page)
    context = {
        "health": health(page, backlog, leading),
        "cards": list(_cards(page, backlog, history, span)),
        "facts": list(_facts(page, backlog)),
        "queues": queue_section(page, backlog),
        "failures": grouped(backlog.failures.counts)[:5],
        "recurring": recurring_section(page, backlog.recurring, size=5),
        "families": families(backlog.processes, leading, backlog.now, backlog.threshold)[:10],
        "charts": charts.history(history, span),
        "spans": _span_links(page, span),
    }
    return page.render("overview", "changelist", _("Background jobs"), context)


def health(page: Page, backlog: Backlog, leading: list[Leadership]) -> Health:
    """What hinders jobs from being run, in words: red for what stands still, amber for what wants a look."""
    config = page.config
    wrong = [
        *process_problems(
            config.alias, backlog.processes, leading, now=backlog.now, max_age=backlog.threshold
        ),
        *_unserved(backlog),
        *retention_problems(config, backlog.now),
    ]
    if wrong:
        return Health("bad", _("Jobs are not being run as they should"), wrong)
    odd = [*_paused(backlog), *_failing(backlog), *hearing_problems(backlog.live)]
    if odd:
        return Health("warning", _("Jobs are being run, and something wants a look"), odd)
    live = len([row for row in backlog.live if row.kind == "Worker"])
    return Health(
        "good",
        ngettext(
            "All is well: %(count)d worker runs jobs",
            "All is well: %(count)d workers run jobs",
            live,
        )
        % {"count": live},
        [],
    )


def _unserved(backlog: Backlog) -> Iterator[str]:
    for line in backlog.queues:
        if line.is_unserved:
            yield ngettext(
                "No living worker serves the queue “%(name)s”: %(count)s job waits, for %(wait)s.",
                "No living worker serves the queue “%(name)s”: %(count)s jobs wait, the oldest for %(wait)s.",
                line.ready.number,
            ) % {"name": line.name, "count": line.ready, "wait": wording.duration(line.wait)}


def _paused(backlog: Backlog) -> Iterator[str]:
    for line in backlog.queues:
        if line.paused_since is not None and line.ready:
            yield ngettext(
                "The queue “%(name)s” is paused, and %(count)s job waits in it.",
                "The queue “%(name)s” is paused, and %(count)s jobs wait in it.",
                line.ready.number,
            ) % {"name": line.name, "count": line.ready}


def _failing(backlog: Backlog) -> Iterator[str]:
    recent = backlog.failures.last_hour
    if recent:
        yield ngettext(
            "%(count)s job failed in the last hour.",
            "%(count)s jobs failed in the last hour.",
            recent,
        ) % {"count": recent}


def _cards(page: Page, backlog: Backlog, history: spans.Series, span: spans.Span) -> Iterator[Card]:
    waits = [line.wait for line in backlog.queues if line.wait is not None]
    oldest = _("oldest %(wait)s") % {"wait": wording.duration(max(waits))} if waits else ""
    ready, running = backlog.total("ready"), backlog.total("claimed")
    yield Card(_("Ready"), str(ready), page.url("jobs", state=JobState.READY), oldest)
    room = sum(
        int(row.metadata.get("threads") or 0) for row in backlog.live if row.kind == "Worker"
    )
    of_room = _("of %(count)d at once") % {"count": room} if room else ""
    yield Card(_("Running"), str(running), page.url("jobs", state=JobState.CLAIMED), of_room)
    for state, label in ((JobState.SCHEDULED, _("Scheduled")), (JobState.BLOCKED, _("Blocked"))):
        yield Card(label, str(backlog.total(state)), page.url("jobs", state=state))
    failed = backlog.total("failed")
    day = backlog.failures.last_day
    note = _("%(count)s in 24 h") % {"count": day}
    yield Card(_("Failed"), str(failed), page.url("failures"), note, "bad" if failed else "")
    paused = sum(line.paused_since is not None for line in backlog.queues)
    note = _("%(count)d paused") % {"count": paused} if paused else ""
    yield Card(_("Queues"), str(len(backlog.queues)), page.url("queues"), note)
    ended = sum(each.ended for _at, each in history)
    note = _("in %(span)s") % {"span": span.name}
    yield Card(_("Ended"), str(wording.Count(ended)), page.url("tasks", span=span.name), note)


def _facts(page: Page, backlog: Backlog) -> Iterator[tuple[str, str]]:
    options = page.config.options
    yield _("Database"), page.database
    yield _("Mode when stand-alone"), options.mode
    yield _("Counts as lost after"), wording.duration(options.process_alive_threshold)
    yield _("Processes"), str(len([row for row in backlog.live if row.supervisor_id is None]))
    yield _("Recurring tasks"), str(len(backlog.recurring))
    kept = options.clear_finished_jobs_after
    yield _("Finished jobs stay for"), wording.duration(kept) if kept is not None else _("ever")


def _span_links(page: Page, chosen: spans.Span) -> list[dict[str, Any]]:
    links = []
    for name in spans.SPANS:
        query = page.request.GET.copy()
        query["span"] = name
        links.append({"name": name, "url": f"?{query.urlencode()}", "is_here": name == chosen.name})
    return links
