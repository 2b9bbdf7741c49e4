"""One job: what happened to it when, what it was given, what came of it, and what can be done."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from django.http import Http404, HttpResponse
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from dj_queue.admin.page import Page
from dj_queue.admin.pages.job_actions import object_actions, perform_on_job
from dj_queue.admin.pages.why import why
from dj_queue.admin.permissions import VIEW_ARGUMENTS
from dj_queue.admin.queries.job_list import JobRow
from dj_queue.admin.redaction import Redactor, as_json
from dj_queue.models import Job, RecurringExecution
from dj_queue.states import Executor, JobState
from dj_queue.store.shared import from_column


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to the job."""

    label: str
    at: datetime | None
    kind: str = ""
    """A class of the style sheet."""
    note: str = ""
    after: float | None = None
    """Seconds since the moment before."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that ended, or the one that runs."""

    number: int
    worker: str
    error: str = ""
    message: str = ""
    traceback: str = ""
    ended_at: datetime | None = None
    outcome: str = ""


def job(page: Page, job_id: str) -> HttpResponse:
    """`dj_queue_job_change`: the page, and at a POST with `_djq_object_action` what that asks for."""
    row = _row(page, job_id)
    if page.request.method == "POST":
        return perform_on_job(page, row)
    shows_arguments = page.may(VIEW_ARGUMENTS)
    redactor = Redactor(page.config, row.job.task_path)
    fired = RecurringExecution.objects.using(page.database).filter(job_id=row.job.pk).first()
    context = {
        "row": row,
        "job": row.job,
        "moments": _spaced(_moments(row)),
        "attempts": list(_attempts(row))[::-1],
        "shows_arguments": shows_arguments,
        "arguments": redactor.arguments(row.job.payload) if shows_arguments else [],
        "result": as_json(redactor.shown("return", row.job.return_value))
        if shows_arguments and row.state == JobState.FINISHED
        else "",
        "executor": Executor(row.job.executor).name.lower(),
        "fired": fired,
        "trace": _trace(page, row.job),
        "object_actions": [each for each in object_actions(row) if page.may(each.name)],
        "why": why(page, row),
    }
    return page.render("job", "jobs", row.short_task, context)


def _row(page: Page, job_id: str) -> JobRow:
    try:
        key = UUID(job_id)
    except ValueError:
        raise Http404(_("That is not the id of a job.")) from None
    found = (
        Job.objects.using(page.database)
        .select_related(
            "ready_execution",
            "scheduled_execution",
            "claimed_execution__process",
            "blocked_execution",
            "failed_execution",
        )
        .filter(pk=key)
        .first()
    )
    if found is None:
        raise Http404(_("There is no such job; finished ones are removed after a while."))
    return JobRow(found)


def _moments(row: JobRow) -> Iterator[Moment]:
    job = row.job
    yield Moment(_("Enqueued"), job.created_at)
    if job.scheduled_at is not None:
        yield Moment(_("Scheduled for"), job.scheduled_at)
    if job.started_at is not None:
        yield Moment(
            _("First attempt began"), job.started_at, "run", str((job.worker_ids or [""])[0])
        )
    for number, error in enumerate(job.errors or (), 1):
        failed_at = parse_datetime(str(error.get("failed_at") or ""))
        if failed_at is not None:
            label = _("Attempt failed (%(number)d)") % {"number": number}
            yield Moment(label, failed_at, "bad", str(error.get("exception_class", "")))
    if job.last_attempted_at is not None and job.last_attempted_at != job.started_at:
        yield Moment(_("Last attempt began"), job.last_attempted_at, "run")
    if row.claim is not None:
        yield Moment(
            _("Running since"), row.claim.started_at or row.claim.created_at, "run", row.worker
        )
    if row.failure is not None and row.failure.retry_at is not None:
        yield Moment(_("To be retried"), row.failure.retry_at)
    if job.finished_at is not None:
        yield Moment(_("Finished"), job.finished_at, "good")


def _spaced(moments: Iterable[Moment]) -> list[Moment]:
    """In the order of time, each with the seconds since the one before."""
    aware = [(cast("datetime", from_column(each.at)), each) for each in moments if each.at]
    spaced: list[Moment] = []
    before: datetime | None = None
    for at, each in sorted(aware, key=lambda pair: pair[0]):
        after = (at - before).total_seconds() if before is not None else None
        spaced.append(Moment(each.label, at, each.kind, each.note, after))
        before = at
    return spaced


def _attempts(row: JobRow) -> Iterator[Attempt]:
    """Oldest first. Which worker had which error is told by their order, as far as both are there."""
    workers, errors = list(row.job.worker_ids or ()), list(row.job.errors or ())
    for number in range(max(len(workers), len(errors))):
        worker = str(workers[number]) if number < len(workers) else ""
        if number < len(errors):
            error = errors[number]
            yield Attempt(
                number + 1,
                worker,
                str(error.get("exception_class", "")),
                str(error.get("message", "")),
                str(error.get("traceback", "")),
                parse_datetime(str(error.get("failed_at") or "")),
                "failed",
            )
        else:
            yield Attempt(number + 1, worker, ended_at=row.job.finished_at, outcome="finished")
    if row.claim is not None:
        yield Attempt(max(len(workers), len(errors)) + 1, row.worker, outcome="claimed")


def _trace(page: Page, job: Job) -> dict[str, str]:
    """The trace in which the job was enqueued, with a link to it if there is a place to look."""
    carrier = job.trace_context or {}
    parts = str(carrier.get("traceparent", "")).split("-")
    if len(parts) != 4:
        return {}
    template = page.config.options.admin.trace_url
    url = template.replace("{trace_id}", parts[1]) if template else ""
    return {"id": parts[1], "url": url if url.startswith(("https://", "http://")) else ""}
