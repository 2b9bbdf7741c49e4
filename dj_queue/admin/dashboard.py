"""The dashboard as part of an admin site: which address leads to which page, and who may open it."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern, path

from dj_queue.admin.generic import ModelAdmin
from dj_queue.admin.page import Page
from dj_queue.admin.pages.bulk import bulk
from dj_queue.admin.pages.diagnostics import diagnostics
from dj_queue.admin.pages.history import failures, tasks
from dj_queue.admin.pages.job_actions import job_action
from dj_queue.admin.pages.jobs import jobs
from dj_queue.admin.pages.limits import limits
from dj_queue.admin.pages.overview import overview
from dj_queue.admin.pages.processes import processes
from dj_queue.admin.pages.queue_actions import queue_action
from dj_queue.admin.pages.queues import queue, queues
from dj_queue.admin.pages.recurring import recurring
from dj_queue.admin.pages.recurring_actions import recurring_action
from dj_queue.admin.permissions import VIEW, may
from dj_queue.admin.time_limit import within_time

type View = Callable[..., HttpResponse]

_READ = ("GET", "HEAD")
_WRITE = ("POST",)


def serve(
    site: admin.AdminSite, view: View, name: str, methods: tuple[str, ...] = _READ
) -> Callable[..., HttpResponse]:
    """*view*, which takes a `Page`, as the view *name* of *site*: for staff who may see the dashboard."""

    def served(request: HttpRequest, **named: Any) -> HttpResponse:
        if request.method not in methods:
            return HttpResponseNotAllowed(methods)
        if not may(request, VIEW):
            raise PermissionDenied
        page = Page(site, request)
        return within_time(page, name, lambda: view(page, **named))

    return site.admin_view(served)


class DashboardAdmin(ModelAdmin):
    """Nothing of the change list that a model has, but a place for the pages to hang on."""

    def get_urls(self) -> list[URLPattern]:
        """The pages, all below `dj_queue/dashboard/`."""

        def page(
            address: str, view: View, name: str, methods: tuple[str, ...] = _READ
        ) -> URLPattern:
            full = f"dj_queue_dashboard_{name}"
            return path(address, serve(self.admin_site, view, name, methods), name=full)

        return [
            page("", overview, "changelist"),
            page("queues/", queues, "queues"),
            # Before the queue itself, whose name may have slashes in it.
            page("queue/<path:queue_name>/jobs/action/", job_action, "job_action", _WRITE),
            page("queue/<path:queue_name>/action/", queue_action, "queue_action", _WRITE),
            page("queue/<path:queue_name>/", queue, "queue"),
            page("jobs/", jobs, "jobs"),
            page("jobs/action/", job_action, "jobs_action", _WRITE),
            page("failures/", failures, "failures"),
            page("tasks/", tasks, "tasks"),
            page("recurring/", recurring, "recurring"),
            page("recurring/<int:task_id>/action/", recurring_action, "recurring_action", _WRITE),
            page("processes/", processes, "processes"),
            page("limits/", limits, "limits"),
            page("diagnostics/", diagnostics, "diagnostics"),
            page("bulk/<int:bulk_id>/", bulk, "bulk", (*_READ, *_WRITE)),
        ]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may see the dashboard."""
        del obj
        return may(request, VIEW)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """For the index of the site."""
        return may(request, VIEW)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """There is nothing to add."""
        del request
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nor to change."""
        del request, obj
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nor to delete."""
        del request, obj
        return False
