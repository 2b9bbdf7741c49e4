"""The configuration of each backend, read once from `settings.TASKS` and kept until settings change.

Nothing below this module reads settings: a door asks for the `BackendConfig` of its alias and hands it on.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

from dj_queue.config import overlay, values
from dj_queue.config.options import BackendConfig, DispatcherConfig, Options, WorkerConfig
from dj_queue.config.recurring import RecurringTaskConfig, SchedulerConfig
from dj_queue.exceptions import ConfigurationError

BACKEND_PATH = "dj_queue.backend.DjQueueBackend"

__all__ = [
    "BACKEND_PATH",
    "BackendConfig",
    "DispatcherConfig",
    "Options",
    "RecurringTaskConfig",
    "SchedulerConfig",
    "WorkerConfig",
    "backend_config",
    "chosen_file",
    "configured_backend_aliases",
    "ensure_dj_queue_backend_alias",
    "load_backend_config",
    "queue_database_aliases",
    "using_file",
]

# What `--config` named in this process.
_chosen_file: overlay.ChosenFile | None = None


def configured_backend_aliases(tasks_settings: Mapping[str, Any] | None = None) -> list[str]:
    """The keys of `TASKS` that name this backend; without any `TASKS` an implicit `default`."""
    tasks = _tasks(tasks_settings)
    if not tasks:
        return ["default"]
    return [alias for alias, entry in tasks.items() if _is_ours(entry)]


def ensure_dj_queue_backend_alias(
    backend_alias: str, tasks_settings: Mapping[str, Any] | None = None
) -> str:
    """*backend_alias*; raises `ConfigurationError` when it is not a backend of dj_queue."""
    _entry(_tasks(tasks_settings), backend_alias, f"TASKS[{backend_alias!r}]")
    return backend_alias


@cache
def backend_config(alias: str) -> BackendConfig:
    """The configuration of *alias* from settings, read at its first use."""
    return load_backend_config(alias)


def load_backend_config(
    backend_alias: str = "default",
    *,
    cli_overrides: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    tasks_settings: Mapping[str, Any] | None = None,
) -> BackendConfig:
    """Read and check the configuration of *backend_alias*; *cli_overrides* replace single options.

    Beside options, *cli_overrides* may hold `skip_recurring`. *env* stands in for the environment. What
    lies between them and the settings is told in `dj_queue.config.overlay`.

    Raises `ConfigurationError` that says which key is wrong, what it holds and what was expected.
    """
    tasks = _tasks(tasks_settings)
    environment = os.environ if env is None else env
    where = f"TASKS[{backend_alias!r}]"
    entry = _entry(tasks, backend_alias, where)
    given = entry.get("OPTIONS", {})
    if not isinstance(given, Mapping):
        raise values.wrong(f"{where}['OPTIONS']", "a mapping", given)
    overrides = dict(cli_overrides or {})
    skip_recurring = overrides.pop("skip_recurring", None)
    found = (
        overlay.Layer(given, f"{where}['OPTIONS']"),
        overlay.file_layer(backend_alias, _chosen_file, environment),
        overlay.environment_mode(environment),
        overlay.Layer(overrides, "cli_overrides"),
    )
    layers = [layer for layer in found if layer is not None]
    options = _merged(layers)
    _check_database(options, layers)
    _check_signs_of_life(options, layers)
    return BackendConfig(
        alias=backend_alias,
        queues=values.queue_names(entry.get("QUEUES"), f"{where}['QUEUES']"),
        options=options,
        skip_recurring=(
            overlay.environment_skips_recurring(environment)
            if skip_recurring is None
            else skip_recurring
        ),
    )


@contextmanager
def using_file(path: str | None, backend_alias: str) -> Iterator[None]:
    """Have this process read the overlay file at *path*, if one is given, and not `DJ_QUEUE_CONFIG`.

    Without the shape `backends` it is about *backend_alias*. For the whole process and not handed
    down: a job that enqueues must write to where the worker that runs it reads.
    """
    global _chosen_file
    previous = _chosen_file
    if path is not None:
        _chosen_file = overlay.ChosenFile(path, backend_alias)
        backend_config.cache_clear()
    try:
        yield
    finally:
        if path is not None:
            _chosen_file = previous
            backend_config.cache_clear()


def chosen_file() -> overlay.ChosenFile | None:
    """What `using_file` named, for processes that this one starts."""
    return _chosen_file


def queue_database_aliases() -> Iterator[str]:
    """The database of each configured backend, once each."""
    yield from dict.fromkeys(
        backend_config(alias).options.database_alias for alias in configured_backend_aliases()
    )


def _tasks(tasks_settings: Mapping[str, Any] | None) -> Mapping[str, Any]:
    found = getattr(settings, "TASKS", {}) if tasks_settings is None else tasks_settings
    if not isinstance(found, Mapping):
        raise values.wrong("TASKS", "a mapping", found)
    return found


def _is_ours(entry: object) -> bool:
    return isinstance(entry, Mapping) and entry.get("BACKEND") == BACKEND_PATH


def _entry(tasks: Mapping[str, Any], alias: str, where: str) -> Mapping[str, Any]:
    if not tasks and alias == "default":
        return {}
    if alias not in tasks:
        raise ConfigurationError(
            f"{where} does not exist; the backends of dj_queue are {configured_backend_aliases(tasks)!r}"
        )
    entry = tasks[alias]
    if not isinstance(entry, Mapping):
        raise values.wrong(where, "a mapping", entry)
    if not _is_ours(entry):
        raise values.wrong(f"{where}['BACKEND']", repr(BACKEND_PATH), entry.get("BACKEND"))
    return entry


def _merged(layers: Sequence[overlay.Layer]) -> Options:
    found: dict[str, Any] = {}
    for layer in layers:
        found |= values.read_fields(Options, layer.options, layer.where)
    return Options(**found)


def _check_database(options: Options, layers: Sequence[overlay.Layer]) -> None:
    if options.database_alias not in settings.DATABASES:
        raise values.wrong(
            _place(layers, "database_alias"),
            f"one of the keys of DATABASES ({', '.join(map(repr, settings.DATABASES))})",
            options.database_alias,
        )


def _check_signs_of_life(options: Options, layers: Sequence[overlay.Layer]) -> None:
    least = 2 * options.process_heartbeat_interval
    if options.process_alive_threshold < least:
        raise values.wrong(
            _place(layers, "process_alive_threshold"),
            f"at least twice 'process_heartbeat_interval', and so {least:g}",
            options.process_alive_threshold,
        )


def _place(layers: Sequence[overlay.Layer], option: str) -> str:
    """Where *option* is set: the last place that says something wins, and so is the one to mend."""
    places = [each.where for each in layers if option in each.options]
    return f"{places[-1] if places else layers[0].where}[{option!r}]"


def _forget(*, setting: str, **_: object) -> None:
    if setting in ("TASKS", "DATABASES"):
        backend_config.cache_clear()


setting_changed.connect(_forget, dispatch_uid="dj_queue.config")
