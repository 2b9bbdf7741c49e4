"""`manage.py dj_queue`: runs jobs in a process of its own, or in several."""

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from django.core.management.base import BaseCommand, CommandError, DjangoHelpFormatter
from django.db import InterfaceError, OperationalError

from dj_queue.config import BackendConfig, WorkerConfig, load_backend_config, using_file
from dj_queue.exceptions import ConfigurationError, NotStarted
from dj_queue.log import log_to_standard_error
from dj_queue.runtime import forks, pending_migrations, pidfile, standalone
from dj_queue.runtime.exit_signals import ExitSignals
from dj_queue.runtime.lifeline import CHILD_VARIABLE, Lifeline, taken_child_name
from dj_queue.runtime.standalone import Ending
from dj_queue.runtime.supervisor import Supervisor
from dj_queue.selectors import parse_selectors

_STATUS_OF_CHILD = {
    Ending.ASKED: 0,
    Ending.ORPHANED: 0,
    Ending.USED_UP: forks.USED_UP_STATUS,
    Ending.LOST_ACTOR: 1,
}
_STATUS_ALONE = {Ending.LOST_ACTOR: 1}

_DESCRIPTION = """\
Run the background jobs of one entry of TASKS, until told to stop."""

_EPILOG = """\
how to stop it:
  SIGTERM, SIGINT (^C)   stop in an orderly way: no new jobs, what has not begun goes back to the
                         queue, what runs gets OPTIONS['shutdown_timeout'] seconds; what still runs
                         then is recorded as failed
  the same again,        end now; jobs that have begun are left to recovery
  or SIGQUIT

exit status:
  0        it was asked to stop; or, in mode async, a worker's max_jobs, max_rss or max_age was reached
           (a service manager has to start it again: systemd Restart=always)
  1        it could not start, or it ended though nobody asked it to; the reason is on standard error
  128 + n  a second signal, or SIGQUIT, ended it at once

where options come from, the first wins:
  command line, environment (DJ_QUEUE_MODE, DJ_QUEUE_SKIP_RECURRING), file (--config or DJ_QUEUE_CONFIG),
  TASKS[ALIAS]['OPTIONS'] in settings, defaults

when jobs do not run:
  is it the right --backend and database?  does a worker serve the job's queue (OPTIONS['workers'])?
  are all threads taken by long jobs?      is the job scheduled, and only --only-work processes run?
"""


class _HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Django's order of arguments, and our own line breaks."""


class Command(BaseCommand):
    """The same supervisor that runs inside a web server, alone: its doors are signals and files."""

    help = _DESCRIPTION

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """The parser, with what a person wants to know who looks here in trouble."""
        kwargs = {"formatter_class": _HelpFormatter, "epilog": _EPILOG, **kwargs}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command's flags."""
        parser.add_argument(
            "--backend",
            default="default",
            metavar="ALIAS",
            help="Which entry of TASKS (default: %(default)s).",
        )
        parser.add_argument(
            "--config",
            metavar="PATH",
            help="A .toml, .yaml or .yml file with options that replace those of the settings: either "
            "options of this backend, or one key 'backends' with the options of each alias.",
        )
        parser.add_argument(
            "--mode",
            choices=["async", "fork"],
            help="'async': all workers as threads of this process. 'fork': a child process for each "
            "worker (as many as its 'processes' says) and one for the dispatchers and the scheduler; "
            "children that crash are started again.",
        )
        only = parser.add_mutually_exclusive_group()
        only.add_argument(
            "--only-work",
            action="store_true",
            help="Run jobs, but leave it to other processes to make scheduled jobs ready and to fire "
            "recurring tasks.",
        )
        only.add_argument(
            "--only-dispatch",
            action="store_true",
            help="Make scheduled jobs ready when they are due and fire recurring tasks, but run no jobs.",
        )
        parser.add_argument(
            "--queues",
            metavar="SELECTORS",
            help="Run one worker, for these queues alone: names, prefix* or *, with commas between them, "
            "earlier ones first. Its other options are those of the first entry of OPTIONS['workers'].",
        )
        parser.add_argument(
            "--skip-recurring",
            action="store_true",
            default=None,
            help="Leave recurring tasks, and clearing away old jobs, to other processes.",
        )
        parser.add_argument(
            "--metrics-port",
            metavar="[HOST:]PORT",
            help="Serve /metrics, /stats.json and /health there, for Prometheus and probes, by the same "
            "rules as dj_queue.urls (DJ_QUEUE_OBSERVABILITY_TOKEN).",
        )
        parser.add_argument(
            "--migration-wait-timeout",
            type=float,
            default=60.0,
            metavar="SECONDS",
            help="How long to wait at the start for migrations of dj_queue that are not applied yet "
            "(default: %(default)g; 0: not at all, pending migrations are an error).",
        )

    def check(self, *args: Any, **options: Any) -> None:
        """Run the system checks, unless they need a database that does not answer: that is waited for."""
        try:
            super().check(*args, **options)
        except (InterfaceError, OperationalError) as error:
            self._warn(f"the system checks were not made, for a database does not answer: {error}")

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the system checks in the parent only: the children would repeat its warnings."""
        if CHILD_VARIABLE in os.environ:
            options["skip_checks"] = True
        return super().execute(*args, **options)

    def handle(self, *_: Any, **options: Any) -> None:
        """Run until there is a reason to end."""
        child = taken_child_name()
        log_to_standard_error(options["verbosity"])
        try:
            with using_file(options["config"], options["backend"]):
                if child is not None:
                    self._run_child(child, options)
                else:
                    self._run(options)
        except ConfigurationError as error:
            status = 1 if child is None else forks.CONFIGURATION_STATUS
            raise CommandError(str(error), returncode=status) from error
        except NotStarted as error:
            raise CommandError(str(error)) from error

    def _run(self, options: dict[str, Any]) -> None:
        config = _config(options)
        # Made in any mode: it finds what is wrong with the configuration before there are children.
        supervisor = _supervisor(config, options)
        with ExitStack() as stack:
            held = stack.enter_context(pidfile.held(config.options.supervisor_pidfile))
            signals = stack.enter_context(
                ExitSignals(
                    "dj_queue: asked to stop; running jobs may end. Again to stop at once.\n"
                )
            )
            if held is not None:
                signals.before_ending_at_once(lambda: pidfile.remove(held))
            if options["metrics_port"] is not None:
                # Not above: children, which serve nothing, would import views and the metrics library.
                from dj_queue.management.metrics_server import MetricsServer

                server = stack.enter_context(MetricsServer(options["metrics_port"]))
                self._say(f"metrics on port {server.port}.")
            if self._waits_for_migrations(config, signals, options["migration_wait_timeout"]):
                if config.options.mode == "fork":
                    self._run_parent(config, signals, options)
                else:
                    self._run_alone(supervisor, signals)
        self._say("stopped.")

    def _run_alone(self, supervisor: Supervisor, signals: ExitSignals) -> None:
        for number, worker in enumerate(supervisor.workers):
            if worker.worker.processes > 1:
                self._warn(
                    f"workers[{number}]['processes'] is {worker.worker.processes}, but mode 'async' "
                    "has one process; --mode fork has several."
                )
        self._say(
            f"{len(supervisor.workers)} worker(s), {len(supervisor.dispatchers)} dispatcher(s), "
            f"{'no' if supervisor.scheduler is None else 'a'} scheduler "
            f"for TASKS[{supervisor.config.alias!r}] as {supervisor.name}. Stop with ^C."
        )
        end = standalone.run(
            supervisor, signals, owns_process=self._owns_process, statuses=_STATUS_ALONE
        )
        if end.ending is Ending.LOST_ACTOR:
            raise CommandError(str(end))
        if end.ending is Ending.USED_UP:
            self._say(f"{end}; to be started again.")

    def _run_parent(
        self, config: BackendConfig, signals: ExitSignals, options: dict[str, Any]
    ) -> None:
        if not self._owns_process:
            raise CommandError(
                "mode 'fork' runs the command line of this process again in each child, so it works "
                "from the command line only; call_command() can use mode 'async'"
            )
        names = forks.child_names(config, **_wanted(options))
        self._say(
            f"starting {len(names)} process(es) for TASKS[{config.alias!r}]: {', '.join(names)}."
        )
        parent = forks.Forks(config, names, signals)
        parent.run(lambda: self._say(f"all {len(names)} process(es) run. Stop with ^C."))

    def _run_child(self, name: str, options: dict[str, Any]) -> None:
        lifeline = Lifeline.from_standard_input()
        with ExitSignals() as signals:
            config = forks.config_of_child(_config(options), name)
            supervisor = Supervisor(config, dispatchers=forks.dispatches(name))
            end = standalone.run(
                supervisor, signals, lifeline=lifeline, owns_process=True, statuses=_STATUS_OF_CHILD
            )
        if end.ending is Ending.LOST_ACTOR:
            self._warn(f"{name}: {end}")
        if status := _STATUS_OF_CHILD[end.ending]:
            sys.exit(status)

    def _waits_for_migrations(
        self, config: BackendConfig, signals: ExitSignals, seconds: float
    ) -> bool:
        return pending_migrations.wait_until_none(
            config.options.database_alias,
            seconds,
            tell=self._say,
            rest=lambda: signals.asked.wait(pending_migrations.POLL_SECONDS),
        )

    @property
    def _owns_process(self) -> bool:
        """Whether the process is there for this command, and not for a program that calls it."""
        return bool(getattr(self, "_called_from_command_line", False))

    def _say(self, sentence: str) -> None:
        self.stdout.write(f"dj_queue: {sentence}")
        # Whoever waits for this line reads it from a pipe.
        self.stdout.flush()

    def _warn(self, sentence: str) -> None:
        self.stderr.write(f"dj_queue: {sentence}")
        self.stderr.flush()


def _config(options: dict[str, Any]) -> BackendConfig:
    given = {name: options[name] for name in ("mode", "skip_recurring")}
    overrides = {name: value for name, value in given.items() if value is not None}
    config = load_backend_config(options["backend"], cli_overrides=overrides)
    if options["queues"] is None:
        return config
    if options["only_dispatch"]:
        raise CommandError(
            "--queues names what a worker serves, and with --only-dispatch there is none"
        )
    try:
        queues = parse_selectors([name.strip() for name in options["queues"].split(",")])
    except ValueError as error:
        raise CommandError(f"--queues {options['queues']!r}: {error}") from None
    like = config.options.workers[0] if config.options.workers else WorkerConfig()
    workers = (replace(like, queues=queues),)
    return replace(config, options=replace(config.options, workers=workers))


def _supervisor(config: BackendConfig, options: dict[str, Any]) -> Supervisor:
    return Supervisor(config, **_wanted(options))


def _wanted(options: dict[str, Any]) -> dict[str, bool]:
    return {"workers": not options["only_dispatch"], "dispatchers": not options["only_work"]}
