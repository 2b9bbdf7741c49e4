"""`manage.py dj_queue_postgres_autovacuum`: statements that make autovacuum fit a queue's tables."""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections, models

from dj_queue.config import backend_config
from dj_queue.exceptions import ConfigurationError
from dj_queue.models import (
    BlockedExecution,
    ClaimedExecution,
    FailedExecution,
    Job,
    Process,
    ReadyExecution,
    ScheduledExecution,
    Semaphore,
    SemaphoreHolder,
)

# Every job passes through these tables. They are nearly empty most of the time, and large for a while with a
# backlog. A fifth of the live rows, PostgreSQL's own rule, is then a lot, and a claim has to step over dead
# rows. So a plain number counts, and the cleaning does not pause, because there is little to read.
_PASSED_THROUGH = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "1000",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0",
    "autovacuum_analyze_threshold": "10000",
}

# Large, and each row is updated once: cleaned up at a fiftieth, not a fifth, so that a round stays short.
# The room left on each page (of those written from now on) is for that update, which then touches no index.
_KEPT = {
    "fillfactor": "90",
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
}

# A handful of rows, updated again and again.
_UPDATED_IN_PLACE = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "500",
    "autovacuum_vacuum_cost_delay": "0",
}

_SETTINGS: dict[type[models.Model], Mapping[str, str]] = {
    Job: _KEPT,
    ReadyExecution: _PASSED_THROUGH,
    ScheduledExecution: _PASSED_THROUGH,
    ClaimedExecution: _PASSED_THROUGH,
    BlockedExecution: _PASSED_THROUGH,
    SemaphoreHolder: _PASSED_THROUGH,
    FailedExecution: _KEPT,
    Semaphore: _UPDATED_IN_PLACE,
    Process: _UPDATED_IN_PLACE,
}


class Command(BaseCommand):
    """Prints statements and runs none: whoever owns the database decides."""

    help = (
        "Print ALTER TABLE statements that make PostgreSQL's autovacuum fit the tables of a queue. They "
        "change nothing until somebody runs them, as the owner of the tables, for instance with: manage.py "
        "dj_queue_postgres_autovacuum | manage.py dbshell. They lock out neither readers nor writers."
    )

    # The statements are the same whatever is wrong with the project.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command's flags."""
        parser.add_argument(
            "--backend", default="default", metavar="ALIAS", help="The key in TASKS (%(default)s)."
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Print them."""
        try:
            database = backend_config(options["backend"]).options.database_alias
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        vendor = connections[database].vendor
        if vendor != "postgresql":
            raise CommandError(
                f"DATABASES[{database!r}] is {vendor}, and only PostgreSQL has autovacuum: "
                "there is nothing to set."
            )
        self.stdout.write("\n".join(_statements(database)))


def _statements(database: str) -> Iterator[str]:
    quote = connections[database].ops.quote_name
    for model, settings in _SETTINGS.items():
        pairs = ", ".join(f"{name} = {value}" for name, value in settings.items())
        yield f"ALTER TABLE {quote(model._meta.db_table)} SET ({pairs});"  # noqa: SLF001  (documented)
