"""The tables themselves in the admin: read only, paged without counting, with the buttons that make sense."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.utils.functional import Promise, cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dj_queue.admin.generic import ModelAdmin, Paginator
from dj_queue.admin.page import Page
from dj_queue.admin.permissions import VIEW, may
from dj_queue.admin.time_limit import rendered, within_time
from dj_queue.config import backend_config, configured_backend_aliases

_CAP = 10_000

type ObjectActions = Sequence[tuple[str, str | Promise]]


class CappedPaginator(Paginator):
    """Counts no further than a hundred pages."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, `_CAP` at the most."""
        rows = self.object_list
        return rows[:_CAP].count() if isinstance(rows, QuerySet) else len(rows)


class BackendFilter(admin.SimpleListFilter):
    """`?backend=`"""

    title = gettext_lazy("backend")
    parameter_name = "backend"
    column = "backend_alias"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The configured ones."""
        del request, model_admin
        return [(alias, alias) for alias in configured_backend_aliases()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of the chosen one."""
        del request
        return queryset.filter(**{self.column: self.value()}) if self.value() else queryset


class RowAdmin(ModelAdmin):
    """A table that is looked at, and whose rows change by the actions of the queue alone."""

    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 100
    change_form_template = "admin/dj_queue/row.html"
    actions: Any = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Of the database of the backend that the address names."""
        return super().get_queryset(request).using(self.page(request).database)

    def page(self, request: HttpRequest) -> Page:
        """What pages of the dashboard have in common, for a request to this table."""
        return Page(self.admin_site, request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Rows are added by the queue."""
        del request
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are changed by actions."""
        del request, obj
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are deleted by actions."""
        del request, obj
        return False

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        """None, so that the table is not in the index and the sidebar; the dashboard leads to it."""
        del request
        return {}

    def has_module_permission(self, request: HttpRequest) -> bool:
        """That of the dashboard."""
        return may(request, VIEW)

    def object_actions(self, row: Any) -> ObjectActions:
        """Names and labels of the buttons on the page of *row*."""
        del row
        return ()

    def perform(self, page: Page, row: Any, name: str) -> HttpResponse:
        """Do what the button called *name* says."""
        raise NotImplementedError

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, unless it takes too long."""

        def listed() -> HttpResponse:
            return rendered(super(RowAdmin, self).changelist_view(request, extra_context))

        return within_time(self.page(request), "", listed)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The row, read only; a POST with `_djq_object_action` does something about it."""
        page = self.page(request)
        row = self.get_object(request, object_id)
        if row is None:
            return super().change_view(request, object_id, form_url, extra_context)
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if request.method == "POST":
            name = request.POST.get("_djq_object_action", "")
            if name not in dict(self.object_actions(row)):
                return HttpResponseBadRequest(_("There is no such action."))
            return self.perform(page, row, name)
        context = {
            "page": page,
            "object_actions": [
                {"name": name, "label": label}
                for name, label in self.object_actions(row)
                if page.may(name)
            ],
            **(extra_context or {}),
        }
        return super().change_view(request, object_id, form_url, context)


def config_of(row: Any) -> Any:
    """The configuration of the backend of *row*."""
    alias = row.backend_alias if hasattr(row, "backend_alias") else row.job.backend_alias
    return backend_config(alias)
