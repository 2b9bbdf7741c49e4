"""System checks of a backend's configuration, each with an id of its own."""

from collections.abc import Iterator

from django.core import checks
from django.db import DEFAULT_DB_ALIAS, connections, router

from dj_queue.config import (
    BackendConfig,
    configured_backend_aliases,
    load_backend_config,
    queue_database_aliases,
    values,
)
from dj_queue.exceptions import ConfigurationError, UnsupportedDatabase
from dj_queue.models import Job
from dj_queue.recurring_checks import check_recurring
from dj_queue.store import store_for


def check_backend(alias: str) -> list[checks.CheckMessage]:
    """What `manage.py check` says about `TASKS[alias]`; opens no connection."""
    try:
        config = load_backend_config(alias)
    except ConfigurationError as error:
        return [checks.Error(str(error), id="dj_queue.E001")]
    return [
        *_check_callables(config),
        *_check_database(config),
        *_check_queues(config),
        *check_recurring(config),
    ]


def _check_callables(config: BackendConfig) -> Iterator[checks.CheckMessage]:
    named = config.options.on_thread_error
    if named is None:
        return
    try:
        values.resolved(named, f"TASKS[{config.alias!r}]['OPTIONS']['on_thread_error']")
    except ConfigurationError as error:
        yield checks.Error(str(error), id="dj_queue.E002")


def _check_database(config: BackendConfig) -> Iterator[checks.CheckMessage]:
    database = config.options.database_alias
    try:
        store_for(database)
    except UnsupportedDatabase as error:
        yield checks.Error(str(error), id="dj_queue.E005")
        return
    options = connections[database].settings_dict.get("OPTIONS", {})
    if connections[database].vendor == "sqlite" and options.get("transaction_mode") != "IMMEDIATE":
        yield checks.Warning(
            f"DATABASES[{database!r}] is SQLite with deferred transactions.",
            hint=(
                "A transaction that reads before it enqueues fails with 'database is locked' when "
                "another process writes in between. Set OPTIONS['transaction_mode'] = 'IMMEDIATE'."
            ),
            id="dj_queue.W001",
        )


def _check_queues(config: BackendConfig) -> Iterator[checks.CheckMessage]:
    workers = config.options.workers
    unserved = sorted(
        name
        for name in config.queues
        if workers and not any(worker.queues.matches(name) for worker in workers)
    )
    if unserved:
        yield checks.Warning(
            f"TASKS[{config.alias!r}]['QUEUES'] has {', '.join(map(repr, unserved))}, which no worker of "
            "these settings serves.",
            hint="If workers with other options run elsewhere, silence this check.",
            id="dj_queue.W002",
        )


def check_routing(**_: object) -> list[checks.CheckMessage]:
    """Whether a project whose queue is on a database of its own has a router for the tables."""
    try:
        others = sorted({*queue_database_aliases()} - {DEFAULT_DB_ALIAS})
    except ConfigurationError:
        return []  # The backend's own check says so.
    if not others or any(_is_asked(database) for database in others):
        return []
    return [
        checks.Warning(
            f"The queue is on DATABASES[{others[0]!r}], and no router of DATABASE_ROUTERS knows of it.",
            hint=(
                "Add 'dj_queue.routers.DjQueueRouter': without it, `migrate` makes the tables everywhere, "
                "and models look for them on 'default'."
            ),
            id="dj_queue.W003",
        )
    ]


def _is_asked(database: str) -> bool:
    return router.db_for_read(Job) == database


def check_deployment(**_: object) -> list[checks.CheckMessage]:
    """What `manage.py check --deploy` says besides."""
    found: list[checks.CheckMessage] = []
    for alias in configured_backend_aliases():
        try:
            options = load_backend_config(alias).options
        except ConfigurationError:
            continue  # The backend's own check says so.
        if options.preserve_finished_jobs and options.clear_finished_jobs_after is None:
            found.append(
                checks.Warning(
                    f"Finished jobs of the backend {alias!r} are kept for ever.",
                    hint=(
                        "Set clear_finished_jobs_after, or preserve_finished_jobs to False, or run "
                        "`manage.py dj_queue_prune` now and then."
                    ),
                    id="dj_queue.W004",
                )
            )
    return found
