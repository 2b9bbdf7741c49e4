"""What somebody wants to know who looks for the reason: configuration, checks, tables, the database."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import django
from django.db import connections
from django.http import HttpResponse
from django.utils import formats
from django.utils.translation import gettext as _

from dj_queue.admin.page import Page
from dj_queue.admin.queries.tables import table_sizes
from dj_queue.checks import check_backend
from dj_queue.models import FailedExecution, Job, Pause, Process, RecurringTask, Semaphore
from dj_queue.reads.health import leaders, problems
from dj_queue.selectors import QueueSelection


def diagnostics(page: Page) -> HttpResponse:
    """`dj_queue_dashboard_diagnostics`."""
    alias = page.config.alias
    age = timedelta(seconds=page.config.options.process_alive_threshold)
    context = {
        "versions": list(_versions(page)),
        "problems": list(problems(page.database, alias, now=page.aware_now, max_age=age)),
        "leaders": list(leaders(page.database, alias)),
        "checks": check_backend(alias),
        "tables": table_sizes(page.database),
        "settings": list(_settings(page.config.options)),
        "raw_tables": list(_raw_tables(page)),
    }
    return page.render("diagnostics", "diagnostics", _("Diagnostics"), context)


def _raw_tables(page: Page) -> Iterator[tuple[str, str]]:
    """Names and addresses of the tables in the admin that who asks may see."""
    user: Any = page.request.user
    for model in (Job, FailedExecution, Process, RecurringTask, Pause, Semaphore):
        name = model._meta.model_name  # noqa: SLF001
        if page.site.is_registered(model) and user.has_perm(f"dj_queue.view_{name}"):
            label = str(model._meta.verbose_name_plural)  # noqa: SLF001
            yield label, page.url(f"admin:dj_queue_{name}_changelist")


def _versions(page: Page) -> Iterator[tuple[str, str]]:
    try:
        yield "dj_queue", version("dj-queue")
    except PackageNotFoundError:
        yield "dj_queue", _("not installed as a package")
    yield "Django", django.get_version()
    connection = connections[page.database]
    numbers = ".".join(map(str, connection.get_database_version()))
    yield _("Database"), f"{connection.display_name} {numbers}"
    yield _("Clock of the database"), formats.date_format(page.now, "DATETIME_FORMAT")


def _settings(options: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every option and its value, those of nested ones by their path."""
    for each in fields(options):
        value = getattr(options, each.name)
        name = f"{prefix}{each.name}"
        if _is_group(value):
            yield from _settings(value, f"{name}.")
        elif isinstance(value, tuple) and value and _is_group(value[0]):
            for place, entry in enumerate(value):
                yield from _settings(entry, f"{name}[{place}].")
        else:
            yield name, str(value)


def _is_group(value: object) -> bool:
    return is_dataclass(value) and not isinstance(value, QueueSelection)
