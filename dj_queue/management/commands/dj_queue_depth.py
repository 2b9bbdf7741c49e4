"""`manage.py dj_queue_depth`: how many jobs wait, a line per queue."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from dj_queue.config import backend_config
from dj_queue.exceptions import ConfigurationError
from dj_queue.reads.queues import waiting_counts


class Command(BaseCommand):
    """Counts what waits, for autoscalers and for people."""

    help = (
        "Print how many jobs wait in each of the named queues, 0 for one that nobody knows; without names "
        "for every queue in which jobs wait. They wait for a worker, for a slot, or for their time."
    )

    # A cheap question, asked often.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command's flags."""
        parser.add_argument("names", nargs="*", metavar="NAME", help="The queues.")
        parser.add_argument(
            "--backend", default="default", metavar="ALIAS", help="The key in TASKS (%(default)s)."
        )
        parser.add_argument(
            "--exclude-scheduled",
            "--exclude_future_jobs",
            action="store_true",
            help="Do not count jobs that wait for their time.",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Count, and print."""
        names = options["names"]
        try:
            counts = waiting_counts(
                backend_config(options["backend"]),
                exclude_scheduled=options["exclude_scheduled"],
                names=names or None,
            )
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(f"the database does not answer: {error}") from error
        for name in dict.fromkeys(names or counts):
            self.stdout.write(f"{name} {counts.get(name, 0)}")
