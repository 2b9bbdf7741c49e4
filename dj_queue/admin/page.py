"""What every page of the dashboard has in common: its backend, its addresses, its frame."""

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property, partial
from typing import Any, cast
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from dj_queue.admin import unchanged
from dj_queue.admin.permissions import Allowed, may
from dj_queue.config import BackendConfig, backend_config, configured_backend_aliases
from dj_queue.store import store_for
from dj_queue.store.shared import django_time, from_column

_DASHBOARD = "admin:dj_queue_dashboard_"

NAVIGATION = (
    ("changelist", _("Overview")),
    ("queues", _("Queues")),
    ("jobs", _("Jobs")),
    ("failures", _("Failures")),
    ("tasks", _("Tasks")),
    ("recurring", _("Recurring")),
    ("processes", _("Processes")),
    ("limits", _("Limits")),
    ("diagnostics", _("Diagnostics")),
)


class Page:
    """One request for one backend, on whichever admin site it came to."""

    def __init__(self, site: AdminSite, request: HttpRequest) -> None:
        """Raises `Http404` for a backend that is not configured."""
        self.site = site
        self.request = request
        self.backends = configured_backend_aliases()
        if not self.backends:
            raise Http404(_("No entry of TASKS names this backend."))
        given = request.POST.get("backend") or request.GET.get("backend")
        if given and given not in self.backends:
            raise Http404(_("There is no such backend."))
        self.config: BackendConfig = backend_config(given or self._default_backend())

    @property
    def database(self) -> str:
        """Where the tables of this backend are."""
        return self.config.options.database_alias

    @cached_property
    def now(self) -> datetime:
        """The database's clock, as models have times."""
        return cast("datetime", django_time(store_for(self.database).now()))

    @property
    def aware_now(self) -> datetime:
        """The same, aware in any case."""
        return cast("datetime", from_column(self.now))

    def may(self, action: str) -> bool:
        """Whether who asks may do *action*."""
        return may(self.request, action)

    def url(self, name: str, *args: Any, **query: Any) -> str:
        """The address of a page: the last part of its name, or a whole one such as `admin:index`.

        For the backend of this page, with what is set in *query*.
        """
        full = name if ":" in name else _DASHBOARD + name
        path = reverse(full, args=args, current_app=self.site.name)
        given = {key: value for key, value in query.items() if value not in (None, "")}
        if self.config.alias != self._default_backend():
            given.setdefault("backend", self.config.alias)
        return f"{path}?{urlencode(given)}" if given else path

    def render(
        self, template: str, name: str, title: Any, context: Mapping[str, Any], status: int = 200
    ) -> HttpResponse:
        """The page called *name* in the navigation, with *template* of `admin/dj_queue/`."""
        self.request.current_app = self.site.name
        shared = {
            **self.site.each_context(self.request),
            "title": title,
            "page": self,
            "now": self.now,
            "config": self.config,
            "section_name": name,
            "navigation": [
                {"name": each, "label": label, "url": self.url(each), "is_here": each == name}
                for each, label in NAVIGATION
            ],
            "backend_links": self._backend_links(),
            "allowed": Allowed(self.request),
            "here": self.request.get_full_path(),
        }
        if unchanged.is_poll(self.request):
            # To show them is to forget them, and a poll shows nothing outside of the live parts.
            shared["messages"] = ()
        response = TemplateResponse(
            self.request, f"admin/dj_queue/{template}.html", {**shared, **context}, status=status
        )
        response["Cache-Control"] = "private, no-store"
        if unchanged.is_poll(self.request):
            response.add_post_render_callback(partial(unchanged.unless_known, self.request))
        return response

    def back(self, default: str) -> HttpResponse:
        """To where the form said that it stands, if that is on this site, and to *default* otherwise."""
        return HttpResponseRedirect(self.back_url(default))

    def back_url(self, default: str) -> str:
        """See `back`."""
        given = self.request.POST.get("next", "")
        is_ours = url_has_allowed_host_and_scheme(
            given,
            allowed_hosts={self.request.get_host()},
            require_https=self.request.is_secure(),
        )
        return given if given and is_ours else default

    @staticmethod
    def path(name: str, site: AdminSite, *args: Any) -> str:
        """The address called *name* on *site*, without a backend."""
        return reverse(name, args=args, current_app=site.name)

    def redirect(self, name: str, *args: Any) -> HttpResponse:
        """To another page."""
        return HttpResponseRedirect(self.url(name, *args))

    def object_url(self, kind: str, key: Any) -> str:
        """The address of the admin's own page about a row, if this site has one."""
        try:
            return self.url(f"admin:dj_queue_{kind}_change", key)
        except NoReverseMatch:
            return ""

    def _default_backend(self) -> str:
        return "default" if "default" in self.backends else self.backends[0]

    def _backend_links(self) -> list[dict[str, Any]]:
        if len(self.backends) < 2:
            return []
        links = []
        for alias in self.backends:
            query = self.request.GET.copy()
            for name in ("after", "backend"):
                query.pop(name, None)
            query["backend"] = alias
            is_here = alias == self.config.alias
            links.append({"alias": alias, "url": f"?{query.urlencode()}", "is_here": is_here})
        return links
