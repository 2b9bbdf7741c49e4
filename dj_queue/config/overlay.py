"""Options from outside of the settings: a YAML or TOML file, and the environment.

    command line  >  environment  >  file  >  settings  >  defaults

Whoever is higher replaces a top-level option as a whole: a `workers` list in the file replaces the list of
the settings. The file is `--config PATH`, or else what `DJ_QUEUE_CONFIG` names, and has one of two shapes:
options of the backend that is asked for, or a single key `backends` with the options of each alias.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dj_queue.config import values
from dj_queue.exceptions import ConfigurationError

FILE_VARIABLE = "DJ_QUEUE_CONFIG"
MODE_VARIABLE = "DJ_QUEUE_MODE"
SKIP_RECURRING_VARIABLE = "DJ_QUEUE_SKIP_RECURRING"

_BACKENDS = "backends"


@dataclass(frozen=True, slots=True)
class Layer:
    """Some options, and how an error names the place where they stand."""

    options: Mapping[str, Any]
    where: str


@dataclass(frozen=True, slots=True)
class ChosenFile:
    """What `--config` named: for every backend if it has the shape `backends`, else for one."""

    path: str
    alias: str


def file_layer(
    alias: str, chosen: ChosenFile | None, environment: Mapping[str, str]
) -> Layer | None:
    """What the overlay file says about *alias*; None without a file, or when it says nothing.

    Raises `ConfigurationError` that names the file when it cannot be read or has another shape.
    """
    path, named_by = (chosen.path, "--config") if chosen else _named_by(environment)
    if not path:
        return None
    content = _content(path, named_by)
    if _BACKENDS in content:
        return _layer_of_alias(content, path, alias)
    if chosen and chosen.alias != alias:
        return None
    return Layer(content, path)


def environment_mode(environment: Mapping[str, str]) -> Layer | None:
    """`mode` from the environment; an empty variable counts as missing, as compose files make them."""
    mode = environment.get(MODE_VARIABLE)
    if not mode:
        return None
    return Layer({"mode": values.one_of("async", "fork")(mode, MODE_VARIABLE)}, MODE_VARIABLE)


def environment_skips_recurring(environment: Mapping[str, str]) -> bool:
    """Whether the environment says that recurring tasks are left out."""
    word = environment.get(SKIP_RECURRING_VARIABLE)
    return bool(word) and values.yes_or_no(word, SKIP_RECURRING_VARIABLE)


def _named_by(environment: Mapping[str, str]) -> tuple[str, str]:
    return environment.get(FILE_VARIABLE, ""), FILE_VARIABLE


def _content(path: str, named_by: str) -> Mapping[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"{named_by}: {path} cannot be read: {why}") from error
    found = _parsed(text, path, named_by)
    if not isinstance(found, Mapping):
        raise values.wrong(path, "a mapping of options", found)
    return found


def _parsed(text: str, path: str, named_by: str) -> Any:
    extension = Path(path).suffix.lower()
    parse: Callable[[str], Any]
    refusal: type[Exception]
    if extension == ".toml":
        kind, parse, refusal = "TOML", tomllib.loads, tomllib.TOMLDecodeError
    elif extension in (".yaml", ".yml"):
        # Every process that reads settings imports this module; few have such a file, and it takes 30 ms.
        import yaml

        kind, parse, refusal = "YAML", yaml.safe_load, yaml.YAMLError
    else:
        raise ConfigurationError(
            f"{named_by}: {path} must end in .toml, .yaml or .yml, which says how it is read"
        )
    try:
        found = parse(text)
    except refusal as error:
        what = " ".join(str(error).split())
        raise ConfigurationError(f"{named_by}: {path} is not valid {kind}: {what}") from error
    # Nothing but comments is None in YAML, and an empty mapping to whoever commented it out.
    return {} if found is None else found


def _layer_of_alias(content: Mapping[str, Any], path: str, alias: str) -> Layer | None:
    others = [key for key in content if key != _BACKENDS]
    if others:
        raise ConfigurationError(
            f"{path}: beside {_BACKENDS!r} there must be no other key, but there is "
            f"{', '.join(map(repr, others))}; options of a single backend stand without {_BACKENDS!r}"
        )
    backends = content[_BACKENDS]
    where = f"{path}[{_BACKENDS!r}]"
    if not isinstance(backends, Mapping):
        raise values.wrong(where, "a mapping from aliases to options", backends)
    if alias not in backends:
        return None
    options = backends[alias]
    if not isinstance(options, Mapping):
        raise values.wrong(f"{where}[{alias!r}]", "a mapping of options", options)
    return Layer(options, f"{where}[{alias!r}]")
