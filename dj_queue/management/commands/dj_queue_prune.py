"""`manage.py dj_queue_prune`: delete what has been kept long enough."""

from argparse import ArgumentParser
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from django.core.management.base import BaseCommand, CommandError
from django.db import Error
from django.db.models import QuerySet

from dj_queue.config import BackendConfig, backend_config
from dj_queue.exceptions import ConfigurationError
from dj_queue.operations import cleanup
from dj_queue.store import store_for


class _Kind(NamedTuple):
    """What the command deletes rows of."""

    label: str
    age: float | None
    """Seconds; None when there is neither a flag nor an option."""
    clear: Callable[[], int]
    find: Callable[[datetime], QuerySet[Any]]
    """The rows from before a moment."""


class Command(BaseCommand):
    """Deletes old jobs and records, a batch of each kind."""

    help = (
        "Delete jobs that ended well, jobs that failed and records of recurring tasks that are older than "
        "the given ages, one batch of each. Ages are in seconds; without a flag the option of the backend "
        "counts (clear_finished_jobs_after, clear_failed_jobs_after, clear_recurring_executions_after), and "
        "a kind that has neither is left alone. The running leader does the same all the time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command's flags."""
        parser.add_argument(
            "--backend", default="default", metavar="ALIAS", help="The key in TASKS (%(default)s)."
        )
        for flag, what in (
            ("--older-than", "jobs that ended well"),
            ("--failed-older-than", "jobs that failed"),
            ("--recurring-older-than", "records of recurring tasks"),
        ):
            parser.add_argument(flag, type=float, metavar="SECONDS", help=f"The age of {what}.")
        parser.add_argument(
            "--batch-size",
            type=int,
            default=500,
            metavar="ROWS",
            help="The most rows of each kind in one transaction (%(default)s).",
        )
        parser.add_argument(
            "--all", action="store_true", help="Batch after batch, until nothing is left."
        )
        parser.add_argument("--task-path", metavar="PATH", help="Only jobs of this task.")
        parser.add_argument(
            "--task-key", metavar="KEY", help="Only records of this recurring task."
        )
        parser.add_argument("--dry-run", action="store_true", help="Count, and delete nothing.")

    def handle(self, *_: Any, **options: Any) -> None:
        """Delete, and tell how much."""
        _check(options)
        try:
            config = backend_config(options["backend"])
            for kind in _kinds(config, options):
                if kind.age is not None:
                    self._prune(config, kind, options)
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(f"the database does not take it: {error}") from error

    def _prune(self, config: BackendConfig, kind: _Kind, options: dict[str, Any]) -> None:
        if options["dry_run"]:
            now = store_for(config.options.database_alias).now()
            count = kind.find(cleanup.cutoff_at(now, kind.age or 0)).count()
            self.stdout.write(f"{kind.label}: {count} to remove")
            return
        total = count = kind.clear()
        while options["all"] and count:
            total += (count := kind.clear())
        self.stdout.write(f"{kind.label}: {total} removed")
        if count >= options["batch_size"]:
            self.stdout.write(
                f"{kind.label}: that was a whole batch (--batch-size {count}), there may be more; "
                "run again, or with --all"
            )


def _kinds(config: BackendConfig, options: dict[str, Any]) -> list[_Kind]:
    def age(flag: str, configured: float | None) -> float | None:
        given: float | None = options[flag]
        return configured if given is None else given

    given = config.options
    finished = age("older_than", given.clear_finished_jobs_after)
    failed = age("failed_older_than", given.clear_failed_jobs_after)
    recurring = age("recurring_older_than", given.clear_recurring_executions_after)
    path, key, size = options["task_path"], options["task_key"], options["batch_size"]
    batches = cleanup.finished_batches(
        older_than=finished, task_path=path, batch_size=size, backend_alias=config.alias
    )
    return [
        _Kind(
            "finished jobs",
            finished,
            partial(next, batches, 0),
            lambda moment: cleanup.finished_before(config, moment, path),
        ),
        _Kind(
            "failed jobs",
            failed,
            lambda: cleanup.clear_failed_jobs(
                older_than=failed, task_path=path, batch_size=size, backend_alias=config.alias
            ),
            lambda moment: cleanup.failed_before(config, moment, path),
        ),
        _Kind(
            "records of recurring tasks",
            recurring,
            lambda: cleanup.clear_recurring_executions(
                older_than=recurring, task_key=key, batch_size=size, backend_alias=config.alias
            ),
            lambda moment: cleanup.recorded_before(config, moment, key),
        ),
    ]


def _check(options: dict[str, Any]) -> None:
    for name in ("older_than", "failed_older_than", "recurring_older_than"):
        age = options[name]
        if age is not None and not age >= 0:
            flag = name.replace("_", "-")
            raise CommandError(f"--{flag}: expected at least 0 seconds, found {age:g}")
    if options["batch_size"] < 1:
        raise CommandError(
            f"--batch-size: expected a whole number above 0, found {options['batch_size']}"
        )
