"""Rich arguments: values that JSON has not, kept as tagged JSON and restored when the job runs.

    datetime(2026, 1, 2)  <->  {"$dj_queue": "datetime", "value": "2026-01-02T00:00:00"}

A mapping that has the key `$dj_queue` itself is kept inside of a tag, so none can be mistaken for one.
Whether a job has tags at all is noted beside its arguments, in the payload's key `rich`: switching
`OPTIONS["rich_arguments"]` on or off changes nothing for the jobs that are there.

Nothing is pickled. Of a model's instance only its key is kept. What a tag may name is an entry of the
table below, a model of an installed app, or a class that is an `Enum`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import singledispatch
from importlib import import_module
from operator import attrgetter
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import Model

from dj_queue import payload
from dj_queue.exceptions import DeserializationError

TAG = "$dj_queue"
RICH = "rich"
"""The key of a payload that says that there are tags in it, and the tag around such a return value."""

_MAPPING = "dict"
_PLAIN = "plain"
"""Around what has no tags in it, whatever it looks like."""
_MODEL = "model"

_SCALARS = frozenset((str, int, float, bool, bytes, type(None)))


@dataclass(frozen=True, slots=True)
class Missing:
    """Stands in a result where a value cannot be restored any more."""

    reason: str


def dump_arguments(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    max_bytes: int,
    notes: Mapping[str, Any] | None = None,
) -> tuple[list[Any], dict[str, Any], str]:
    """Like `payload.dump_arguments`, with rich values: they are in the copies that are returned.

    Raises `PayloadError` for what cannot be stored, such as an instance that is not in its database.
    """
    tags = _Tags()
    tagged_args = [tags.put(value, 0) for value in args]
    tagged_kwargs = {name: tags.put(value, 0) for name, value in kwargs.items()}
    if tags.are_used:
        notes = {**(notes or {}), RICH: True}
    plain_args, plain_kwargs, text = payload.dump_arguments(
        tagged_args, tagged_kwargs, max_bytes=max_bytes, notes=notes
    )
    if not tags.are_used:
        return plain_args, plain_kwargs, text
    values = iter(tags.values)
    shown_args = [_filled(value, values) for value in plain_args]
    return shown_args, {k: _filled(v, values) for k, v in plain_kwargs.items()}, text


def restored(stored: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call from its payload; instances are fetched, with one query for each model.

    Raises `DeserializationError` that says which value cannot be restored, and why.
    """
    return _from_payload(stored, _Restoring.fetching(stored["args"], stored["kwargs"]))


def shown(stored: Mapping[str, Any], *, fetch: bool = True) -> tuple[list[Any], dict[str, Any]]:
    """The same for people: what cannot be restored is a `Missing`; without *fetch*, instances too."""
    if RICH not in stored:
        return stored["args"], stored["kwargs"]
    restoring = _Restoring(tolerant=True)
    if fetch:
        restoring.fetch(stored["args"], stored["kwargs"])
    return _from_payload(stored, restoring)


def dump_return_value(value: Any, *, rich: bool) -> tuple[Any, str]:
    """A copy of what a task returned, and its JSON text; raises `PayloadError`.

    A mapping that looks like a tag is wrapped whether or not rich values are allowed: what is stored
    there has no other place that says what it is.
    """
    name = "the return value"
    if not rich:
        plain = payload.normalize(value, name=name)
        if type(plain) is dict and TAG in plain:
            return plain, payload.dump(_tag(RICH, _tag(_PLAIN, plain)))
        return plain, payload.dump(plain)
    tags = _Tags()
    plain = payload.normalize(tags.put(value, 0), name=name)
    if not tags.are_used:
        return plain, payload.dump(plain)
    return _filled(plain, iter(tags.values)), payload.dump(_tag(RICH, plain))


def shown_return_value(stored: Any) -> Any:
    """What a task returned, from what is stored; see `shown`."""
    if type(stored) is not dict or stored.get(TAG) != RICH:
        return stored
    restoring = _Restoring(tolerant=True)
    restoring.fetch(stored["value"])
    return restoring.value(stored["value"])


class _Tags:
    """Puts tags in the place of rich values, and remembers the values in the order of their tags."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.are_used = False

    def put(self, value: Any, depth: int) -> Any:
        kind = type(value)
        # What is too deep, perhaps endless, is left to `normalize`, which says so.
        if kind in _SCALARS or depth > payload.MAX_DEPTH:
            return value
        if kind is list or kind is tuple:
            return [self.put(item, depth + 1) for item in value]
        if isinstance(value, Mapping):
            return self._mapping(value, depth + 1)
        if (tag := _tagged(value)) is not None:
            self.values.append(value)
            self.are_used = True
            return tag
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            return [self.put(item, depth + 1) for item in value]
        return value

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
        items = {key: self.put(item, depth) for key, item in value.items()}
        if TAG not in items:
            return items
        self.are_used = True
        return _tag(_MAPPING, items)


def _filled(plain: Any, values: Iterator[Any]) -> Any:
    """*plain* with the next of *values* in the place of each tag."""
    if type(plain) is list:
        return [_filled(item, values) for item in plain]
    if type(plain) is not dict:
        return plain
    if TAG not in plain:
        return {key: _filled(item, values) for key, item in plain.items()}
    if plain[TAG] == _MAPPING:
        return {key: _filled(item, values) for key, item in plain["value"].items()}
    return next(values)


def _tag(kind: str, value: Any) -> dict[str, Any]:
    return {TAG: kind, "value": value}


@singledispatch
def _tagged(value: Any) -> Any:
    """The tag for *value*, a `payload.Refused` that says why there is none, or None if it is not rich."""
    del value


@_tagged.register
def _(value: datetime) -> Any:
    # The offset alone would make another time of day of it when something is added.
    zone = getattr(value.tzinfo, "key", None)
    return _tag("datetime", [value.isoformat(), zone] if zone else value.isoformat())


@_tagged.register
def _(value: date) -> Any:
    return _tag("date", value.isoformat())


@_tagged.register
def _(value: time) -> Any:
    if value.tzinfo is not None and value.utcoffset() is None:
        return payload.Refused("is a time of day in a zone whose offset depends on the day")
    return _tag("time", value.isoformat())


@_tagged.register
def _(value: timedelta) -> Any:
    return _tag("timedelta", [value.days, value.seconds, value.microseconds])


@_tagged.register
def _(value: Decimal) -> Any:
    return _tag("decimal", str(value))


@_tagged.register
def _(value: UUID) -> Any:
    return _tag("uuid", str(value))


@_tagged.register
def _(value: Enum) -> Any:
    kind = type(value)
    named = [kind.__module__, kind.__qualname__, value.name]
    try:
        is_found = value.name is not None and _enum(named) is value
    except (ImportError, AttributeError, KeyError, TypeError):
        is_found = False
    if not is_found:
        return payload.Refused(
            f"is {value!r}, which cannot be found again as a member of "
            f"{kind.__module__}.{kind.__qualname__}; pass its value"
        )
    return _tag("enum", named)


@_tagged.register
def _(value: Model) -> Any:
    meta, state = value._meta, value._state
    if value.pk is None or state.adding:
        return payload.Refused(f"is an instance of {meta.label} that is not saved in a database")
    key = _Tags().put(value.pk, 0)
    return _tag(_MODEL, [meta.label_lower, state.db or "default", key])


def _zoned(value: Any) -> datetime:
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    text, zone = value
    return datetime.fromisoformat(text).astimezone(ZoneInfo(zone))


def _enum(value: Sequence[str]) -> Enum:
    module, qualname, member = value
    kind = attrgetter(qualname)(import_module(module))
    if not (isinstance(kind, type) and issubclass(kind, Enum)):
        raise TypeError(f"{module}.{qualname} is not an Enum")
    return kind[member]


_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "datetime": _zoned,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda value: timedelta(*value),
    "decimal": Decimal,
    "uuid": UUID,
    "enum": _enum,
    _PLAIN: lambda value: value,
}


class _Lost(Exception):
    """A value cannot be restored."""


class _Restoring:
    """Puts values in the place of tags."""

    def __init__(self, *, tolerant: bool) -> None:
        self._tolerant = tolerant
        # By label and database: the instances by key, or why there are none.
        self._fetched: dict[tuple[str, str], dict[Any, Model] | str] = {}

    @classmethod
    def fetching(cls, *places: Any) -> "_Restoring":
        """One that is strict, and has all instances that *places* name."""
        restoring = cls(tolerant=False)
        restoring.fetch(*places)
        return restoring

    def fetch(self, *places: Any) -> None:
        """Fetch the instances that *places* name, with one query for each model and database."""
        keys: dict[tuple[str, str], list[Any]] = {}
        for label, database, key in _references(places):
            keys.setdefault((label, database), []).append(key)
        for (label, database), wanted in keys.items():
            self._fetched[label, database] = _instances(label, database, map(self.value, wanted))

    def value(self, plain: Any) -> Any:
        if type(plain) is list:
            return [self.value(item) for item in plain]
        if type(plain) is not dict:
            return plain
        if TAG not in plain:
            return {key: self.value(item) for key, item in plain.items()}
        try:
            return self._untagged(plain[TAG], plain["value"])
        except _Lost as lost:
            reason = str(lost)
        except (
            ImportError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
            ArithmeticError,
        ) as error:
            reason = f"{plain!r} cannot be restored: {type(error).__name__}: {error}"
        if self._tolerant:
            return Missing(reason)
        raise DeserializationError(reason)

    def _untagged(self, kind: str, value: Any) -> Any:
        if kind == _MAPPING:
            return {key: self.value(item) for key, item in value.items()}
        if kind == _MODEL:
            return self._instance(*value)
        return _KINDS[kind](value)

    def _instance(self, label: str, database: str, key: Any) -> Model:
        pk = self.value(key)
        named = f"{label} with the primary key {pk!r} on the database {database!r}"
        found = self._fetched.get((label, database), "it was not fetched")
        if isinstance(found, str):
            raise _Lost(f"{named} cannot be fetched: {found}")
        try:
            return found[_hashable(pk)]
        except KeyError:
            raise _Lost(f"{named} does not exist any more") from None


def _from_payload(
    stored: Mapping[str, Any], restoring: _Restoring
) -> tuple[list[Any], dict[str, Any]]:
    args = []
    for number, value in enumerate(stored["args"]):
        args.append(_at(f"args[{number}]", restoring, value))
    return args, {k: _at(f"kwargs[{k!r}]", restoring, v) for k, v in stored["kwargs"].items()}


def _at(place: str, restoring: _Restoring, plain: Any) -> Any:
    try:
        return restoring.value(plain)
    except DeserializationError as error:
        raise DeserializationError(f"{place}: {error}") from None


def _references(plain: Any) -> Iterator[Sequence[Any]]:
    """What each tag of an instance in *plain* holds: label, database and key."""
    if isinstance(plain, list | tuple):
        for item in plain:
            yield from _references(item)
    elif isinstance(plain, dict):
        if plain.get(TAG) == _MODEL:
            yield plain["value"]
        elif TAG not in plain or plain[TAG] == _MAPPING:
            yield from _references(list((plain["value"] if TAG in plain else plain).values()))


def _instances(label: str, database: str, keys: Iterator[Any]) -> dict[Any, Model] | str:
    try:
        model = apps.get_model(label)
    except LookupError as error:
        return str(error)
    if database not in connections:
        return f"DATABASES has no {database!r}"
    # Not the default manager, which may hide rows; relations are followed with this one too.
    manager = model._base_manager.using(database)
    try:
        found = manager.in_bulk({_hashable(key) for key in keys})
    except (TypeError, ValueError, ValidationError) as error:
        return str(error)
    return {_hashable(key): instance for key, instance in found.items()}


def _hashable(key: Any) -> Any:
    # The key of several columns is a tuple, which JSON makes a list.
    return tuple(key) if isinstance(key, list) else key
