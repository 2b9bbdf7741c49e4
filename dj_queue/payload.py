"""What may be stored with a job: JSON that comes back from every database as it went in.

`json.dumps` alone is no guard: it writes NaN, turns the key `1` into `"1"`, and passes on a NUL or half
a surrogate pair, which PostgreSQL then refuses in the middle of a transaction. So values are walked
first, and the first one that cannot be stored is named by its path.
"""

import json
import math
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from dj_queue.exceptions import PayloadError

MAX_DEPTH = 28
"""Levels of nesting. MariaDB's JSON functions stop at 32, and a job's payload adds two of its own."""

MAX_INTEGER_BITS = 63
"""MySQL turns longer integers into floats, and so would lose digits without a word."""

_SCALARS = frozenset((bool, type(None)))

# What `dj_queue.arguments` can store.
_RICH = (date, time, timedelta, Decimal, UUID, Enum)


def _make_encoder() -> Callable[[Any], str]:
    """What makes JSON text of plain values; they hold no circles, for `normalize` made them.

    `JSONEncoder.encode` makes its part in C anew for each call, which takes three times as long as the
    encoding of a job's arguments. Where this Python makes that part the way we know, it is made once.
    """
    portable = json.JSONEncoder(
        allow_nan=False, check_circular=False, separators=(",", ":"), ensure_ascii=False
    )
    parts: Any = json.encoder
    try:
        in_c = parts.c_make_encoder(
            None, portable.default, parts.encode_basestring, None, ":", ",", False, False, False
        )
        if "".join(in_c(["\xe4", {"a": 1.5}], 0)) == portable.encode(["\xe4", {"a": 1.5}]):
            return lambda value: "".join(in_c(value, 0))
    except (AttributeError, TypeError):
        pass
    return portable.encode


_encode = _make_encoder()

# A string, or a number that is written with a positive exponent.
_LARGE_FLOATS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|(-?[0-9.]+e\+[0-9]+)')

_LEFT_OUT = "\n[... {} characters left out ...]\n"


@dataclass(frozen=True, slots=True)
class Refused:
    """Stands in the place of a value that is known to be unstorable: `normalize` names it with *reason*."""

    reason: str


class _Unstorable(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []


def normalize(value: Any, *, name: str) -> Any:
    """A copy of *value* of plain JSON types: tuples become lists, mappings dicts, bytes text.

    Raises `PayloadError` that names the offending place, starting with *name* (as in `args[0]['when']`).
    """
    try:
        return _normalize(value, 0)
    except _Unstorable as unstorable:
        place = name + "".join(reversed(unstorable.path))
        raise PayloadError(f"{place} {unstorable.reason}") from None


def dump(value: Any) -> str:
    """JSON text of a value that `normalize` returned."""
    text = _encode(value)
    return _LARGE_FLOATS.sub(_written_out, text) if "e+" in text else text


def dump_arguments(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    max_bytes: int,
    notes: Mapping[str, Any] | None = None,
) -> tuple[list[Any], dict[str, Any], str]:
    """The arguments of a call as plain JSON types, and the text stored as the job's payload.

    *notes* is what the library itself keeps beside them, plain JSON under keys of its own.

    Raises `PayloadError` when they cannot be stored or their text has more than *max_bytes* bytes.
    """
    # Most calls have only the one or the other.
    plain_args = normalize(args, name="args") if args else []
    plain_kwargs = normalize(kwargs, name="kwargs") if kwargs else {}
    stored = {"args": plain_args, "kwargs": plain_kwargs}
    text = dump({**stored, **notes} if notes else stored)
    # No character takes more than four bytes, so most payloads need not be encoded to be measured.
    if len(text) * 4 > max_bytes and (size := len(text.encode())) > max_bytes:
        raise PayloadError(
            f"the arguments take {size} bytes as JSON; OPTIONS['max_payload_bytes'] allows {max_bytes}. "
            "Store large data elsewhere and pass its key"
        )
    return plain_args, plain_kwargs, text


def is_storable_text(text: str) -> bool:
    """Whether any database takes *text* as it is: no NUL, and no half of a surrogate pair."""
    try:
        _checked_text(text)
    except _Unstorable:
        return False
    return True


def printable(text: str, *, max_characters: int) -> str:
    """*text* made fit for a text column of any database: no NUL, no lone surrogate, not too long.

    What cannot be stored is written as an escape; of a long text the middle is left out, because the
    end of a traceback says what happened and its beginning where it began.
    """
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= max_characters:
        return text
    room = max_characters - len(_LEFT_OUT.format(len(text)))
    if room <= 0:
        return text[-max_characters:]
    head = room // 4
    return text[:head] + _LEFT_OUT.format(len(text) - room) + text[head - room :]


def _written_out(token: re.Match[str]) -> str:
    # PostgreSQL keeps 1e300 as a decimal number and writes it as digits alone: Python would read an
    # integer, and not even one that equals the float. A decimal point makes it a float again.
    return token[0] if token[1] is None else f"{Decimal(token[1]):f}.0"


def _normalize(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return _checked_text(value)
    if kind in _SCALARS:
        return value
    if kind is int:
        return _checked_integer(value)
    if kind is float:
        return _checked_float(value)
    # Asking an abstract class costs more than all the rest; these are nearly all there is.
    if kind is list or kind is tuple:
        return _normalize_sequence(value, _deeper(depth))
    if kind is dict:
        return _normalize_mapping(value, _deeper(depth))
    if isinstance(value, Mapping):
        return _normalize_mapping(value, _deeper(depth))
    if isinstance(value, str):
        return _checked_text(str.__str__(value))
    if isinstance(value, bytes):
        return _checked_text(_decoded(value))
    if isinstance(value, int):
        return _checked_integer(int(value))
    if isinstance(value, float):
        return _checked_float(float(value))
    if isinstance(value, Sequence):
        return _normalize_sequence(value, _deeper(depth))
    raise _Unstorable(_refusal(value))


def _refusal(value: Any) -> str:
    if isinstance(value, Refused):
        return value.reason
    kind = type(value)
    reason = (
        f"is of type {kind.__module__}.{kind.__qualname__}, which JSON has not. "
        "Unsupported type: pass plain values, or an id to look the object up by"
    )
    # A model's instance is known by this; its class is not imported for the sake of a message.
    if isinstance(value, _RICH) or hasattr(kind, "_meta"):
        return f"{reason}. Or set OPTIONS['rich_arguments'] to True, which allows this type"
    return reason


def _normalize_mapping(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    plain = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise _Unstorable(
                f"has the key {reprlib.repr(key)} of type {type(key).__qualname__}; "
                "JSON has only text as keys"
            )
        try:
            plain[_checked_text(str.__str__(key))] = _normalize(item, depth)
        except _Unstorable as unstorable:
            unstorable.path.append(f"[{key!r}]")
            raise
    return plain


def _normalize_sequence(value: Sequence[Any], depth: int) -> list[Any]:
    plain = []
    try:
        for item in value:
            plain.append(_normalize(item, depth))
    except _Unstorable as unstorable:
        unstorable.path.append(f"[{len(plain)}]")
        raise
    return plain


def _deeper(depth: int) -> int:
    # A structure that contains itself is caught here too: it is deeper than any limit.
    if depth >= MAX_DEPTH:
        raise _Unstorable(f"is nested more than {MAX_DEPTH} levels deep, or contains itself")
    return depth + 1


def _checked_text(text: str) -> str:
    if "\0" in text:
        raise _Unstorable("contains a NUL character, which databases cannot store in text")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _Unstorable(
                f"contains a lone surrogate at position {error.start}, which is not text"
            ) from None
    return text


def _checked_integer(number: int) -> int:
    if number.bit_length() > MAX_INTEGER_BITS:
        raise _Unstorable(
            f"is an integer of {number.bit_length()} bits; more than {MAX_INTEGER_BITS} "
            "do not survive in every database. Pass it as text"
        )
    return number


def _checked_float(number: float) -> float:
    if not math.isfinite(number):
        raise _Unstorable(f"is {number!r}, which JSON has not. Pass None, or text")
    return number


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _Unstorable(
            "is bytes that are not UTF-8 text; encode them, for instance as base64"
        ) from None
