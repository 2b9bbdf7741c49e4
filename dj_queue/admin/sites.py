"""For an admin site of the project's own: dj_queue first on its index, and no page in between."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse


class QueuesFirst(admin.AdminSite):
    """Mix in before `AdminSite`.

    A site that does not has dj_queue in its alphabetical place, and at `dj_queue/` a page that leads on
    to the dashboard. No site is ever changed from outside.
    """

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """dj_queue first, the others as they were."""
        found = super().get_app_list(request, app_label)
        return sorted(found, key=lambda app: app["app_label"] != "dj_queue")

    def app_index(
        self, request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """That of dj_queue is the dashboard."""
        if app_label != "dj_queue":
            return super().app_index(request, app_label, extra_context)
        url = reverse("admin:dj_queue_dashboard_changelist", current_app=self.name)
        query = request.META.get("QUERY_STRING", "")
        return HttpResponseRedirect(f"{url}?{query}" if query else url)
