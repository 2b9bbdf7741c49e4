"""`manage.py dj_queue_queues`: look at queues, pause, resume and clear them."""

import json
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from dj_queue.config import BackendConfig, backend_config
from dj_queue.exceptions import ConfigurationError
from dj_queue.operations.discard import clear_queue
from dj_queue.operations.queues import pause_queue, resume_queue
from dj_queue.reads.queues import QueueDepth, depths, waiting_counts

_HEADINGS = (
    "queue", "ready", "scheduled", "claimed", "blocked", "failed", "paused", "latency", "workers",
)  # fmt: skip


class Command(BaseCommand):
    """Lists queues, or does something to those that are named."""

    help = (
        "List the queues of a backend: how many jobs are in each state, whether the queue is paused, for how "
        "many seconds the oldest ready job has waited, and how many living workers serve it. With an "
        "action and names: 'pause' has no further jobs claimed, 'resume' ends that, 'clear' deletes the "
        "jobs that are ready now."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command's flags."""
        parser.add_argument(
            "action", nargs="?", choices=("list", "pause", "resume", "clear"), default="list"
        )
        parser.add_argument("names", nargs="*", metavar="NAME", help="The queues.")
        parser.add_argument(
            "--backend", default="default", metavar="ALIAS", help="The key in TASKS (%(default)s)."
        )
        parser.add_argument("--json", action="store_true", help="List as JSON, for other programs.")
        parser.add_argument(
            "--yes", action="store_true", help="With 'clear': do not ask whether it is meant."
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """List, or act on each of the named queues."""
        try:
            config = backend_config(options["backend"])
            if options["action"] == "list":
                self._list(config, options["names"], as_json=options["json"])
            else:
                self._act(config, options)
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(f"the database does not take it: {error}") from error

    def _list(self, config: BackendConfig, names: Sequence[str], *, as_json: bool) -> None:
        found = [depth for depth in depths(config) if not names or depth.name in names]
        if as_json:
            self.stdout.write(json.dumps([asdict(depth) for depth in found], indent=2))
        elif found:
            self.stdout.write(_table([_HEADINGS, *map(_row, found)]))
        else:
            self.stdout.write("no queues")

    def _act(self, config: BackendConfig, options: dict[str, Any]) -> None:
        names, action = options["names"], options["action"]
        if not names:
            raise CommandError(f"{action}: expected the names of queues")
        if action == "clear" and not options["yes"]:
            self._confirm(config, names)
        act: Callable[[BackendConfig, str], str] = _ACTIONS[action]
        for name in names:
            try:
                self.stdout.write(f"{name}: {act(config, name)}")
            except ValueError as error:
                raise CommandError(str(error)) from error

    def _confirm(self, config: BackendConfig, names: Sequence[str]) -> None:
        count = sum(waiting_counts(config, exclude_scheduled=True, names=names).values())
        self.stdout.write(
            f"About to delete the ready jobs of {', '.join(names)} (about {count}) for good."
        )
        try:
            answer = input("Type 'yes' to go on: ")
        except EOFError:
            answer = ""
        if answer.strip() != "yes":
            raise CommandError("nothing was deleted; --yes goes on without asking")


def _pause(config: BackendConfig, name: str) -> str:
    return "paused" if pause_queue(config, name) else "was paused already"


def _resume(config: BackendConfig, name: str) -> str:
    return "resumed" if resume_queue(config, name) else "was not paused"


def _clear(config: BackendConfig, name: str) -> str:
    return f"{clear_queue(config, name)} jobs deleted"


_ACTIONS = {"pause": _pause, "resume": _resume, "clear": _clear}


def _row(depth: QueueDepth) -> tuple[str, ...]:
    return (
        depth.name,
        *(str(count) for count in (depth.ready, depth.scheduled, depth.claimed, depth.blocked)),
        str(depth.failed),
        "yes" if depth.is_paused else "no",
        "-" if depth.latency is None else f"{depth.latency:.1f}",
        str(depth.workers),
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join((name.ljust(widths[0]), *right)))
    return "\n".join(lines)
