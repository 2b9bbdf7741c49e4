"""`manage.py dj_queue_health`: for probes and for people."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from dj_queue.config import BackendConfig, backend_config
from dj_queue.exceptions import ConfigurationError
from dj_queue.reads import health
from dj_queue.store import store_for


class Command(BaseCommand):
    """Says whether jobs are being run, in its exit status."""

    help = (
        "Exit with 0 and print 'healthy' when jobs of a backend are being run: a worker lives, no part of a "
        "living process is stuck, and the dispatcher's work gets done. Otherwise exit with 1 and say on "
        "standard error what is wrong, a line each. With --verbosity 2 it says who leads, too."
    )

    # Some of them ask the database, and end with a traceback when it does not answer. A probe is cheap, too.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command's flags."""
        parser.add_argument(
            "--backend", default="default", metavar="ALIAS", help="The key in TASKS (%(default)s)."
        )
        parser.add_argument(
            "--max-age",
            type=float,
            metavar="SECONDS",
            help="How old the last sign of life may be; by default OPTIONS['process_alive_threshold'].",
        )
        parser.add_argument(
            "--deep",
            action="store_true",
            help="Look for contradictions in the tables too. Reads them whole: not for every few seconds.",
        )
        parser.add_argument(
            "--require-version",
            metavar="VERSION",
            help="With --deep: every process must run this version of dj_queue.",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Look, and tell."""
        try:
            config = backend_config(options["backend"])
            found = _problems(config, options)
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(f"the database does not answer: {error}") from error
        if found:
            raise CommandError("\n".join(found))
        self.stdout.write("healthy")
        if options["verbosity"] > 1:
            for line in health.leaders(config.options.database_alias, config.alias):
                self.stdout.write(line)


def _problems(config: BackendConfig, options: dict[str, Any]) -> list[str]:
    given = options["max_age"]
    if given is not None and given <= 0:
        raise CommandError(f"--max-age: expected seconds above zero, found {given:g}")
    max_age = timedelta(seconds=given or config.options.process_alive_threshold)
    database = config.options.database_alias
    with store_for(database).open_session(config.alias) as session:
        now = session.now()
    found = list(health.problems(database, config.alias, now=now, max_age=max_age))
    if options["deep"]:
        found += health.deep_problems(
            database, config.alias, now=now, max_age=max_age, version=options["require_version"]
        )
    return found
