"""The dashboard, as part of Django's admin: on the default site, and on any other by `register(site)`."""

from django.contrib import admin

from dj_queue import models
from dj_queue.admin import tables
from dj_queue.admin.dashboard import DashboardAdmin
from dj_queue.admin.sites import QueuesFirst

__all__ = ["QueuesFirst", "register"]


def register(site: admin.AdminSite) -> None:
    """Add the dashboard and the tables to an admin site; those that are there already are left alone."""
    for model, model_admin in (
        (models.Dashboard, DashboardAdmin),
        (models.Job, tables.JobAdmin),
        (models.FailedExecution, tables.FailedExecutionAdmin),
        (models.Process, tables.ProcessAdmin),
        (models.RecurringTask, tables.RecurringTaskAdmin),
        (models.Pause, tables.PauseAdmin),
        (models.Semaphore, tables.SemaphoreAdmin),
    ):
        if not site.is_registered(model):
            site.register(model, model_admin)


register(admin.site)
