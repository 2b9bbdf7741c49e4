"""Readers of single settings: each takes what was found and where, and returns the value or complains.

A message names the key, what was found and what was expected, because whoever reads it has a
service that does not start.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any, cast

from django.utils.module_loading import import_string

from dj_queue.exceptions import ConfigurationError
from dj_queue.selectors import QueueSelection, parse_selectors

_WORDS = {
    "1": True, "true": True, "yes": True, "on": True,
    "0": False, "false": False, "no": False, "off": False,
}  # fmt: skip


class Configured:
    """What all dataclasses of the configuration can do."""

    __slots__ = ()

    def as_dict(self) -> dict[str, Any]:
        """The values by name, nested ones too, as plain as settings have them."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(cast("Any", self))}


def _plain(value: Any) -> Any:
    if isinstance(value, Configured):
        return value.as_dict()
    if isinstance(value, QueueSelection):
        return str(value).split(",")
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def wrong(where: str, expected: str, found: object) -> ConfigurationError:
    """The error for a value at *where* that is not what was *expected*."""
    return ConfigurationError(f"{where} must be {expected}, not {found!r}")


def text(found: Any, where: str) -> str:
    """A non-empty string."""
    if not isinstance(found, str) or not found:
        raise wrong(where, "a non-empty string", found)
    return found


def texts(found: Any, where: str) -> tuple[str, ...]:
    """A list of non-empty strings; it may be empty."""
    if not isinstance(found, list | tuple | set | frozenset) or not all(
        isinstance(each, str) and each for each in found
    ):
        raise wrong(where, "a list of non-empty strings", found)
    return tuple(found)


def yes_or_no(found: Any, where: str) -> bool:
    """A boolean, or one of the words that files and environments have for it."""
    if isinstance(found, bool):
        return found
    if isinstance(found, int) and found in (0, 1):
        return bool(found)
    if isinstance(found, str) and found.strip().lower() in _WORDS:
        return _WORDS[found.strip().lower()]
    raise wrong(where, "True or False (or one of 1, 0, true, false, yes, no, on, off)", found)


def whole_number(*, minimum: int) -> Callable[[Any, str], int]:
    """A reader of whole numbers from *minimum* up."""

    def read(found: Any, where: str) -> int:
        if isinstance(found, bool) or not isinstance(found, int) or found < minimum:
            raise wrong(where, f"a whole number of at least {minimum}", found)
        return found

    return read


def seconds(*, above_zero: bool = False) -> Callable[[Any, str], float]:
    """A reader of a duration: seconds, or a `timedelta`."""
    expected = f"a number of seconds {'above 0' if above_zero else 'of at least 0'}"

    def read(given: Any, where: str) -> float:
        found = given.total_seconds() if isinstance(given, timedelta) else given
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise wrong(where, expected, given)
        # Not above the largest float: of an integer beyond it there is none. NaN is never below.
        if not 0 <= found <= sys.float_info.max or (above_zero and found == 0):
            raise wrong(where, expected, given)
        return float(found)

    return read


def optional[T](read: Callable[[Any, str], T]) -> Callable[[Any, str], T | None]:
    """A reader of what *read* reads, or of None, which means "not set"."""

    def read_unless_none(found: Any, where: str) -> T | None:
        return None if found is None else read(found, where)

    return read_unless_none


def one_of(*allowed: str) -> Callable[[Any, str], str]:
    """A reader of one of a few words."""

    def read(found: Any, where: str) -> str:
        if found not in allowed:
            raise wrong(where, "one of " + ", ".join(map(repr, allowed)), found)
        return str(found)

    return read


def queue_names(found: Any, where: str) -> frozenset[str]:
    """A list of queue names; None and an empty one mean all."""
    names = () if found is None or found == "" else found
    if not isinstance(names, list | tuple | set | frozenset) or not all(
        isinstance(name, str) for name in names
    ):
        raise wrong(where, "a list of queue names", found)
    return frozenset(names)


def queue_selection(found: Any, where: str) -> QueueSelection:
    """Queue selectors: one string or a list of them."""
    if not isinstance(found, str | list | tuple):
        raise wrong(where, "a queue name, a prefix with *, or a list of them", found)
    try:
        return parse_selectors(found)
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from None


def callable_or_path(found: Any, where: str) -> Callable[..., object] | str | None:
    """A callable, or the dotted path of one, or None. A path is not imported here: see `resolved`."""
    if found is None or callable(found) or (isinstance(found, str) and found):
        return cast("Callable[..., object] | str | None", found)
    raise wrong(where, "a callable or the dotted path of one", found)


def resolved(named: Callable[..., object] | str, where: str) -> Callable[..., object]:
    """The callable that was configured, imported now.

    Not when settings are read: a typo in a path that only workers use must not break `enqueue()`.
    """
    found = named
    if isinstance(found, str):
        try:
            found = import_string(found)
        except ImportError as error:
            raise ConfigurationError(
                f"{where} is {named!r}, which cannot be imported: {error}"
            ) from error
    if not callable(found):
        raise wrong(where, "a callable or the dotted path of one", named)
    return found


def entries[T](kind: type[T]) -> Callable[[Any, str], tuple[T, ...]]:
    """A reader of a list of mappings (or a single one), each read into a *kind*."""

    def read(found: Any, where: str) -> tuple[T, ...]:
        if isinstance(found, Mapping | kind):
            return (record(kind, found, where),)
        if not isinstance(found, list | tuple):
            raise wrong(where, "a list of mappings, or one mapping", found)
        return tuple(record(kind, entry, f"{where}[{n}]") for n, entry in enumerate(found))

    return read


def record[T](kind: type[T], found: Any, where: str) -> T:
    """Read the mapping *found*, or a *kind*, into the dataclass *kind*; an unknown key is an error."""
    if isinstance(found, kind) and isinstance(found, Configured):
        # Somebody wrote it by hand: what it holds is as unknown as a mapping's.
        found = found.as_dict()
    return kind(**read_fields(kind, found, where))


def read_fields(kind: type, found: Any, where: str) -> dict[str, Any]:
    """What the mapping *found* says about fields of the dataclass *kind*, read; the others are missing.

    For options of which several places say something: each place is read, and named in errors, alone.
    """
    if not isinstance(found, Mapping):
        raise wrong(where, "a mapping", found)
    known = {each.name: each for each in fields(kind)}
    for name in found:
        if name not in known:
            raise ConfigurationError(
                f"{where}[{name!r}] is not an option; the options here are {', '.join(sorted(known))}"
            )
    return {
        name: each.metadata["reads"](found[name], f"{where}[{name!r}]")
        for name, each in known.items()
        if name in found
    }
