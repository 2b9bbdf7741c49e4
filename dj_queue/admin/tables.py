"""Which tables there are in the admin, and what their lists show."""

from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dj_queue import wording
from dj_queue.admin import audit
from dj_queue.admin.actions import discard, retry
from dj_queue.admin.page import Page
from dj_queue.admin.pages.confirming import confirmation
from dj_queue.admin.pages.job import job
from dj_queue.admin.pages.jobs import jobs
from dj_queue.admin.pages.recurring import upcoming
from dj_queue.admin.pages.recurring_actions import perform as perform_on_recurring
from dj_queue.admin.permissions import VIEW, VIEW_ARGUMENTS, demand, may
from dj_queue.admin.queries.backlog import is_live
from dj_queue.admin.redaction import Redactor
from dj_queue.admin.rows import BackendFilter, ObjectActions, RowAdmin, config_of
from dj_queue.admin.schedule_words import in_words
from dj_queue.admin.time_limit import within_time
from dj_queue.models import FailedExecution, Pause
from dj_queue.operations.queues import resume_queue
from dj_queue.states import JobState
from dj_queue.store.shared import from_column

# Rows that an action of a change list is done to in one request.
_AT_ONCE = 1000


class JobAdmin(RowAdmin):
    """Jobs: the pages of the dashboard at the addresses that a model has in the admin."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list of jobs."""
        del extra_context
        if not may(request, VIEW):
            raise PermissionDenied
        page = self.page(request)
        return within_time(page, "jobs", lambda: jobs(page))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of one job."""
        del form_url, extra_context
        if not may(request, VIEW):
            raise PermissionDenied
        page = self.page(request)
        return within_time(page, "jobs", lambda: job(page, object_id))


class _FailedBackend(BackendFilter):
    column = "job__backend_alias"


class _SharedByBackends(BackendFilter):
    """Chooses the database, which is all that a backend means there."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """All of them."""
        del request
        return queryset


class FailedExecutionAdmin(RowAdmin):
    """Failed jobs, the newest first."""

    list_display = ("job_link", "exception_class", "short_message", "retry_at", "created_at")
    list_display_links = None
    list_filter = (_FailedBackend,)
    ordering = ("-created_at", "-id")
    list_select_related = ("job",)
    sortable_by: ClassVar = ()
    actions = ("retry_jobs", "discard_jobs")
    fields = ("job_link", "exception_class", "message", "traceback", "retry_at", "created_at")
    readonly_fields = fields

    @admin.display(description=gettext_lazy("job"))
    def job_link(self, row: FailedExecution) -> str:
        """The task, as a link to the job."""
        url = Page.path("admin:dj_queue_job_change", self.admin_site, row.job_id)
        return format_html('<a href="{}">{}</a>', url, row.job.task_path)

    @admin.display(description=gettext_lazy("message"))
    def short_message(self, row: FailedExecution) -> str:
        """The beginning of the message."""
        return row.message[:100]

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether to offer to retry."""
        return may(request, "retry")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """Whether to offer to discard."""
        return may(request, "discard")

    @admin.action(description=gettext_lazy("Retry"), permissions=["retry"])
    def retry_jobs(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Try the selected jobs again."""
        self._on_selected(request, queryset, "retry")

    @admin.action(description=gettext_lazy("Discard"), permissions=["discard"])
    def discard_jobs(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Delete the selected jobs, after asking."""
        if "confirm" not in request.POST:
            what = wording.jobs(min(_AT_ONCE, queryset[: _AT_ONCE + 1].count()))
            return confirmation(self.page(request), _("Discard"), what)
        self._on_selected(request, queryset, "discard")
        return None

    def object_actions(self, row: Any) -> ObjectActions:
        """Retry and discard."""
        del row
        return (("retry", gettext_lazy("Retry")), ("discard", gettext_lazy("Discard")))

    def perform(self, page: Page, row: Any, name: str) -> HttpResponse:
        """Do it, and go to the list, since the row is gone."""
        demand(page.request, name)
        if name == "discard" and "confirm" not in page.request.POST:
            return confirmation(page, _("Discard"), wording.jobs(1))
        self._apply(page.request, config_of(row), name, [row.job_id])
        return page.back(page.url("admin:dj_queue_failedexecution_changelist"))

    def _on_selected(self, request: HttpRequest, rows: QuerySet[Any], name: str) -> None:
        by_backend: dict[str, list[UUID]] = {}
        found = rows.values_list("job__backend_alias", "job_id")[: _AT_ONCE + 1]
        for alias, job_id in list(found)[:_AT_ONCE]:
            by_backend.setdefault(alias, []).append(job_id)
        for alias, ids in by_backend.items():
            self._apply(request, config_of(Pause(backend_alias=alias)), name, ids)
        if len(found) > _AT_ONCE:
            messages.warning(
                request,
                _("Only the first %d were done. The page “Failures” of the dashboard does all.")
                % _AT_ONCE,
            )

    def _apply(self, request: HttpRequest, config: Any, name: str, ids: list[UUID]) -> None:
        done = (retry if name == "retry" else discard)(config, JobState.FAILED, ids)
        what = ", ".join(map(str, ids[:5]))
        audit.record(request, config.alias, name, FailedExecution, what=what, count=done.count)
        label = _("Retried") if name == "retry" else _("Discarded")
        messages.success(request, f"{label}: {wording.jobs(done.count)}.")
        if done.refused:
            messages.warning(request, _("Refused: %s.") % wording.jobs(done.refused))


class ProcessAdmin(RowAdmin):
    """Processes and their parts."""

    list_display = (
        "name",
        "backend_alias",
        "kind",
        "status",
        "pid",
        "hostname",
        "last_heartbeat_at",
    )
    list_filter = (BackendFilter, "kind")
    ordering = ("-id",)

    @admin.display(description=gettext_lazy("status"))
    def status(self, row: Any) -> str:
        """Whether it gave a sign of life lately."""
        threshold = timedelta(seconds=config_of(row).options.process_alive_threshold)
        now = from_column(timezone.now())
        return _("live") if now and is_live(row, now, threshold) else _("lost")


class RecurringTaskAdmin(RowAdmin):
    """Recurring tasks."""

    list_display = (
        "key",
        "task_path",
        "schedule",
        "queue_name",
        "priority",
        "static",
        "next_run_at",
    )
    list_filter = (BackendFilter,)
    ordering = ("key",)
    actions = ("unschedule_tasks",)
    exclude = ("payload",)
    readonly_fields = ("in_plain_words", "next_times", "arguments")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Without the arguments for who may not see them."""
        found = [name for name in super().get_fields(request, obj) if name != "arguments"]
        return [*found, "arguments"] if may(request, VIEW_ARGUMENTS) else found

    @admin.display(description=gettext_lazy("schedule in words"))
    def in_plain_words(self, row: Any) -> str:
        """The schedule as a sentence, where there is one for it."""
        return in_words(row.schedule, row.timezone) or "-"

    @admin.display(description=gettext_lazy("next times"))
    def next_times(self, row: Any) -> str:
        """When it fires next, in the reader's zone."""
        return "\n".join(map(wording.exactly, upcoming(row, 5))) or "-"

    @admin.display(description=gettext_lazy("arguments"))
    def arguments(self, row: Any) -> str:
        """What its jobs are given, without what is secret."""
        shown = Redactor(config_of(row), row.task_path).arguments(row.payload or {})
        return "\n".join(f"{name}: {text}" for name, text in shown) or "-"

    def has_unschedule_permission(self, request: HttpRequest) -> bool:
        """Whether to offer to unschedule."""
        return may(request, "unschedule")

    @admin.action(description=gettext_lazy("Unschedule"), permissions=["unschedule"])
    def unschedule_tasks(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> HttpResponse | None:
        """Take away the selected ones that do not come from settings, after asking."""
        if "confirm" not in request.POST:
            what = ", ".join(row.key for row in queryset[:20])
            return confirmation(self.page(request), _("Unschedule"), what)
        for row in queryset:
            page = self.page(request)
            page.config = config_of(row)
            perform_on_recurring(page, row, "unschedule", "")
        return None

    def object_actions(self, row: Any) -> ObjectActions:
        """Run, switch, unschedule."""
        switch = (
            ("disable", gettext_lazy("Disable"))
            if row.enabled
            else ("enable", gettext_lazy("Enable"))
        )
        return (
            ("run", gettext_lazy("Run now")),
            switch,
            ("unschedule", gettext_lazy("Unschedule")),
        )

    def perform(self, page: Page, row: Any, name: str) -> HttpResponse:
        """Do it, and stay."""
        page.config = config_of(row)
        gone = page.url("admin:dj_queue_recurringtask_changelist")
        is_going = name == "unschedule" and not row.static
        return perform_on_recurring(
            page, row, name, gone if is_going else page.request.get_full_path()
        )


class PauseAdmin(RowAdmin):
    """Paused queues."""

    list_display = ("queue_name", "backend_alias", "created_at")
    list_filter = (BackendFilter,)
    ordering = ("queue_name",)

    def object_actions(self, row: Any) -> ObjectActions:
        """Resume."""
        del row
        return (("resume", gettext_lazy("Resume")),)

    def perform(self, page: Page, row: Any, name: str) -> HttpResponse:
        """Resume the queue; the row is gone then."""
        demand(page.request, name)
        config = config_of(row)
        if resume_queue(config, row.queue_name):
            audit.record(page.request, config.alias, name, Pause, what=row.queue_name, count=1)
        messages.success(page.request, _("“%s” is not paused any more.") % row.queue_name)
        return page.back(page.url("admin:dj_queue_pause_changelist"))


class SemaphoreAdmin(RowAdmin):
    """Concurrency keys."""

    list_display = ("key", "limit", "expires_at", "updated_at")
    list_filter = (_SharedByBackends,)
    ordering = ("key",)
    search_fields = ("key__startswith",)
