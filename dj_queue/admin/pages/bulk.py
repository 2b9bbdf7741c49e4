"""An action on a great many jobs: how far it is, and the way to stop it."""

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.utils.translation import gettext as _

from dj_queue.admin import audit
from dj_queue.admin.actions import JOB_ACTIONS
from dj_queue.admin.bulk import stop
from dj_queue.admin.page import Page
from dj_queue.admin.permissions import demand
from dj_queue.admin.queries.filters import JobFilter
from dj_queue.models import BulkAction


def bulk(page: Page, bulk_id: int) -> HttpResponse:
    """`dj_queue_dashboard_bulk`: its state; a POST asks it to stop."""
    found = BulkAction.objects.using(page.database).filter(
        pk=bulk_id, backend_alias=page.config.alias
    )
    action = found.first()
    if action is None:
        raise Http404(_("There is no such action."))
    if page.request.method == "POST":
        demand(page.request, action.action)
        if stop(page.config, action):
            audit.record(
                page.request,
                page.config.alias,
                "stop",
                BulkAction,
                what=str(action),
                count=action.done,
                object_id=action.pk,
            )
            messages.success(page.request, _("It will stop after the batch that is under way."))
        return page.redirect("bulk", action.pk)
    wanted = JobFilter.read(action.filters)
    context = {
        "action": action,
        "label": JOB_ACTIONS[action.action].label,
        "filter": wanted,
        "may_stop": not action.is_over and page.may(action.action),
        "list_url": page.url("jobs", **wanted.query),
        "is_narrowed": wanted.is_narrowed,
    }
    return page.render("bulk", "jobs", _("Action on many jobs"), context)
