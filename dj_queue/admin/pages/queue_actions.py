"""POST: pause, resume and clear a queue."""

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBadRequest
from django.utils.translation import gettext as _

from dj_queue import wording
from dj_queue.admin import audit, bulk
from dj_queue.admin.actions import JOB_ACTIONS
from dj_queue.admin.page import Page
from dj_queue.admin.pages.confirming import confirmation
from dj_queue.admin.permissions import demand
from dj_queue.admin.queries.filters import JobFilter
from dj_queue.exceptions import DjQueueError
from dj_queue.models import Pause, ReadyExecution
from dj_queue.operations.queues import pause_queue, resume_queue
from dj_queue.states import JobState


def queue_action(page: Page, queue_name: str) -> HttpResponse:
    """`dj_queue_dashboard_queue_action`: POST `action`, one of `pause`, `resume` and `clear`."""
    name = page.request.POST.get("action", "")
    if name not in ("pause", "resume", "clear"):
        return HttpResponseBadRequest(_("There is no such action."))
    demand(page.request, name)
    default = page.url("queue", queue_name)
    if name == "clear":
        return _clear(page, queue_name, default)
    changed = (pause_queue if name == "pause" else resume_queue)(page.config, queue_name)
    if changed:
        audit.record(page.request, page.config.alias, name, Pause, what=queue_name, count=1)
    tell = _paused if name == "pause" else _resumed
    messages.success(page.request, tell(queue_name))
    return page.back(default)


def _clear(page: Page, queue_name: str, default: str) -> HttpResponse:
    """Discard what is ready, once its name was typed: what is there when that is sent, nothing later."""
    typed = page.request.POST.get("confirm")
    if typed != queue_name:
        what = _("all ready jobs of the queue “%s”") % queue_name
        error = _("That is not the name of the queue.") if typed else ""
        return confirmation(page, _("Clear"), what, typed=queue_name, error=error)
    wanted = JobFilter(state=JobState.READY, queue=queue_name)
    try:
        started = bulk.start(
            page.config, JOB_ACTIONS["discard"], wanted, page.request.user.get_username()
        )
    except DjQueueError as error:
        messages.error(page.request, str(error))
        return page.back(default)
    audit.record(
        page.request,
        page.config.alias,
        "clear",
        ReadyExecution,
        what=queue_name,
        count=started.done,
    )
    if not started.is_over:
        return page.redirect("bulk", started.pk)
    messages.success(
        page.request,
        _("“%(queue)s”: %(jobs)s discarded.")
        % {"queue": queue_name, "jobs": wording.jobs(started.done)},
    )
    return page.back(default)


def _paused(queue_name: str) -> str:
    return _("“%s” is paused. Jobs that run go on; no other begins.") % queue_name


def _resumed(queue_name: str) -> str:
    return _("“%s” is not paused any more.") % queue_name
