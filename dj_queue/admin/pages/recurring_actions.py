"""POST: run a recurring task now, switch it on or off, unschedule it."""

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseBadRequest
from django.utils.translation import gettext as _

from dj_queue.admin import audit
from dj_queue.admin.page import Page
from dj_queue.admin.pages.confirming import confirmation
from dj_queue.admin.permissions import demand
from dj_queue.exceptions import DjQueueError
from dj_queue.models import RecurringTask
from dj_queue.operations.recurring import run_now
from dj_queue.operations.recurring_entries import switch, unschedule

NAMES = ("run", "enable", "disable", "unschedule")


def recurring_action(page: Page, task_id: int) -> HttpResponse:
    """`dj_queue_dashboard_recurring_action`: POST `action`."""
    task = (
        RecurringTask.objects.using(page.database)
        .filter(pk=task_id, backend_alias=page.config.alias)
        .first()
    )
    if task is None:
        raise Http404(_("There is no such recurring task."))
    return perform(page, task, page.request.POST.get("action", ""), page.url("recurring"))


def perform(page: Page, task: RecurringTask, name: str, default: str) -> HttpResponse:
    """Do what *name* says to *task*, tell about it, and go back."""
    if name not in NAMES:
        return HttpResponseBadRequest(_("There is no such action."))
    demand(page.request, name)
    if name == "unschedule" and task.static:
        messages.error(
            page.request,
            _("“%s” comes from the settings or a decorator; take it out there, or disable it.")
            % task.key,
        )
        return page.back(default)
    if name == "unschedule" and "confirm" not in page.request.POST:
        return confirmation(page, _("Unschedule"), _("the recurring task “%s”") % task.key)
    try:
        text = _done(page, task, name)
    except (DjQueueError, ValueError) as error:
        messages.error(page.request, str(error))
        return page.back(default)
    audit.record(
        page.request,
        page.config.alias,
        name,
        RecurringTask,
        what=task.key,
        count=1,
        object_id=task.pk,
    )
    messages.success(page.request, text)
    return page.back(default)


def _done(page: Page, task: RecurringTask, name: str) -> str:
    if name == "run":
        run_now(page.config, task.key)
        return _("“%s” was enqueued for now; its times stay as they are.") % task.key
    if name == "unschedule":
        unschedule(page.config, task.key)
        return _("“%s” is not scheduled any more.") % task.key
    switch(page.config, task.key, on=name == "enable")
    if name == "enable":
        return _("“%s” is enabled; it fires at its next time.") % task.key
    return _("“%s” is disabled, until somebody enables it.") % task.key
