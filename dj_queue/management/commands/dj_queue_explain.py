"""`manage.py dj_queue_explain`: why is this job not running?"""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from dj_queue.config import backend_config
from dj_queue.exceptions import ConfigurationError
from dj_queue.ids import read_job_id
from dj_queue.reads.explain import explain


class Command(BaseCommand):
    """Walks the gates that a job has to pass, and names the first closed one."""

    help = (
        "Say why a job does not run, and what would change that: whether it has ended, waits for its time, "
        "for a slot, for a queue that is paused, for a worker that serves its queue, or just for its turn. "
        "Asks a few small questions, however many jobs there are."
    )

    # A question in trouble should not end in a traceback of a check.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command's flags."""
        parser.add_argument("job_id", metavar="ID", help="The id of the job, as in TaskResult.id.")
        parser.add_argument(
            "--backend",
            default="default",
            metavar="ALIAS",
            help="The key in TASKS on whose database to look (%(default)s).",
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *_: Any, **options: Any) -> None:
        """Look, and tell."""
        try:
            found = explain(backend_config(options["backend"]), read_job_id(options["job_id"]))
        except (ConfigurationError, ValueError) as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(f"the database does not answer: {error}") from error
        if options["json"]:
            self.stdout.write(json.dumps(found.as_dict()))
            return
        self.stdout.write(found.sentence)
        if found.remedy:
            self.stdout.write(found.remedy)
