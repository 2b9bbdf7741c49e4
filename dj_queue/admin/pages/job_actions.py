"""POST: what is done to one job, to those that were ticked, and to all that match."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dj_queue import wording
from dj_queue.admin import audit, bulk
from dj_queue.admin.actions import JOB_ACTIONS, Done, JobAction, actions_for, model_of
from dj_queue.admin.page import Page
from dj_queue.admin.pages.confirming import confirmation
from dj_queue.admin.permissions import demand
from dj_queue.admin.queries.filters import JobFilter
from dj_queue.admin.queries.job_list import JobRow
from dj_queue.config import BackendConfig, backend_config
from dj_queue.exceptions import DjQueueError
from dj_queue.models import BulkAction, Job
from dj_queue.operations.again import enqueue_again
from dj_queue.states import JobState
from dj_queue.store import store_for
from dj_queue.store.shared import django_time


@dataclass(frozen=True, slots=True)
class ObjectAction:
    """A button on the page of a job."""

    name: str
    label: str | Promise
    is_destructive: bool = False


def object_actions(row: JobRow) -> list[ObjectAction]:
    """What can be done to a job, going by where it is."""
    found = []
    if row.state == JobState.FAILED:
        found.append(ObjectAction("retry", gettext_lazy("Retry")))
    if row.state == JobState.SCHEDULED:
        found.append(ObjectAction("run_now", gettext_lazy("Run now")))
        found.append(ObjectAction("enqueue_copy_now", gettext_lazy("Enqueue a copy now")))
    else:
        found.append(ObjectAction("enqueue", gettext_lazy("Enqueue again")))
    if any(each.name == "discard" for each in actions_for(row.state)):
        found.append(ObjectAction("discard", gettext_lazy("Discard"), is_destructive=True))
    return found


def perform_on_job(page: Page, row: JobRow) -> HttpResponse:
    """The `_djq_object_action` of a job's page; 400 for one that is not possible where the job is."""
    name = page.request.POST.get("_djq_object_action", "")
    possible = {each.name: each for each in object_actions(row)}
    if name not in possible:
        if name in ("retry", "discard", "run_now", "enqueue", "enqueue_copy_now"):
            demand(page.request, name)
        return HttpResponseBadRequest(_("That cannot be done to a job that is %s.") % row.state)
    demand(page.request, name)
    action = possible[name]
    if action.is_destructive and "confirm" not in page.request.POST:
        return confirmation(page, action.label, wording.jobs(1))
    job = row.job
    config = backend_config(job.backend_alias)
    done = _apply(config, name, row)
    audit.record(
        page.request,
        job.backend_alias,
        name,
        Job,
        what=f"{job.task_path} {job.pk}",
        count=done.count,
        object_id=job.pk,
    )
    _tell(page.request, action.label, done)
    if done.new_job is not None:
        return page.redirect("admin:dj_queue_job_change", done.new_job)
    here = page.url("admin:dj_queue_job_change", job.pk)
    return page.back(
        page.url("jobs", state=row.state) if name == "discard" and done.count else here
    )


def _apply(config: BackendConfig, name: str, row: JobRow) -> Done:
    if name in ("enqueue", "enqueue_copy_now"):
        now = django_time(store_for(config.options.database_alias).now())
        at = now if name == "enqueue_copy_now" else None
        return Done(1, new_job=enqueue_again(config, row.job.pk, run_after=at).pk)
    return JOB_ACTIONS[name].apply(config, JobState(row.state), [row.job.pk])


def job_action(page: Page, queue_name: str = "") -> HttpResponse:
    """`dj_queue_dashboard_job_action`: POST `state`, `action`, `_selected_action*`, or `scope=all`.

    Without a queue it is `dj_queue_dashboard_jobs_action`.
    """
    given = page.request.POST
    try:
        wanted = JobFilter.read({**given.dict(), **({"queue": queue_name} if queue_name else {})})
    except ValueError as error:
        raise Http404(str(error)) from None
    action = JOB_ACTIONS.get(given.get("action", ""))
    if action is None:
        return HttpResponseBadRequest(_("There is no such action."))
    demand(page.request, action.name)
    if wanted.state not in action.states or wanted.problems:
        return HttpResponseBadRequest(_("That cannot be done to jobs that are %s.") % wanted.state)
    default = page.url("queue", queue_name) if queue_name else page.url("jobs", state=wanted.state)
    if given.get("scope") == "all":
        return _on_all(page, action, wanted, default)
    return _on_selected(page, action, wanted, default)


def _on_selected(page: Page, action: JobAction, wanted: JobFilter, default: str) -> HttpResponse:
    ids = _ids(page.request.POST.getlist("_selected_action"))
    if not ids:
        messages.warning(page.request, _("Nothing was selected."))
        return page.back(default)
    if action.is_destructive and "confirm" not in page.request.POST:
        return confirmation(page, action.label, wording.jobs(len(ids)))
    done = action.apply(page.config, JobState(wanted.state), ids)
    audit.record(
        page.request,
        page.config.alias,
        action.name,
        model_of(wanted.state),
        what=", ".join(map(str, ids[:5])),
        count=done.count,
    )
    _tell(page.request, action.label, done)
    return page.back(default)


def _on_all(page: Page, action: JobAction, wanted: JobFilter, default: str) -> HttpResponse:
    if not action.reaches_all:
        return HttpResponseBadRequest(_("That cannot be done to all jobs at once."))
    if "confirm" not in page.request.POST:
        what = _("all jobs with %(filter)s (%(jobs)s)") % {
            "filter": wanted.describe(),
            "jobs": wording.jobs(bulk.matching(page.config, wanted)),
        }
        return confirmation(page, action.label, what)
    user: Any = page.request.user
    try:
        started = bulk.start(page.config, action, wanted, user.get_username())
    except DjQueueError as error:
        messages.error(page.request, str(error))
        return page.back(default)
    audit.record(
        page.request,
        page.config.alias,
        action.name,
        BulkAction,
        what=wanted.describe(),
        count=started.done,
        object_id=started.pk,
    )
    if started.is_over:
        _tell(page.request, action.label, Done(started.done, started.refused))
        return page.back(default)
    return page.redirect("bulk", started.pk)


def _tell(request: HttpRequest, label: Any, done: Done) -> None:
    text = _("%(action)s: %(jobs)s.") % {"action": label, "jobs": wording.jobs(done.count)}
    messages.add_message(request, messages.SUCCESS if done.count else messages.WARNING, text)
    if done.refused:
        messages.warning(
            request,
            _("%(jobs)s stay as they are: all slots of their concurrency key are taken.")
            % {"jobs": wording.jobs(done.refused)},
        )


def _ids(texts: Sequence[str]) -> list[UUID]:
    found = []
    for text in texts:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found
