"""Job ids: UUIDs of version 7, which sort by the time they were made.

Ordered keys keep inserts at the right edge of the primary key's index; random ones touch a page each.
Python has `uuid.uuid7` from 3.14 on; until that is our oldest version, it is made here (RFC 9562,
section 5.7, with the counter of section 6.2, method 2).
"""

import os
import secrets
import threading
import time
from contextlib import suppress
from datetime import datetime
from uuid import UUID, SafeUUID

_COUNTER_BITS = 74
_COUNTER_MASK = (1 << _COUNTER_BITS) - 1
_RAND_B_MASK = (1 << 62) - 1
_VERSION_AND_VARIANT = (7 << 76) | (0b10 << 62)

# Guards _last_milliseconds and _counter.
_lock = threading.Lock()
_last_milliseconds = 0
_counter = 0


def new_job_ids(count: int) -> list[UUID]:
    """*count* new ids in ascending order, above every id made before in this process."""
    global _last_milliseconds, _counter
    with _lock:
        now = time.time_ns() // 1_000_000
        if now > _last_milliseconds:
            _last_milliseconds, _counter = now, _fresh_counter()
        elif _counter + count > _COUNTER_MASK:
            # The clock stands still or went back, and the counter is used up: borrow a millisecond.
            _last_milliseconds, _counter = _last_milliseconds + 1, _fresh_counter()
        first, milliseconds = _counter + 1, _last_milliseconds
        _counter += count
    stamp = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | _VERSION_AND_VARIANT
    return [
        _uuid(stamp | (number >> 62) << 64 | number & _RAND_B_MASK)
        for number in range(first, first + count)
    ]


def new_job_id() -> UUID:
    """One new id; see `new_job_ids`."""
    return new_job_ids(1)[0]


def read_job_id(given: object) -> UUID:
    """The id in *given*: an id, its text, or anything that has one as `id`, such as a job.

    Raises `ValueError` that says what was found.
    """
    found = getattr(given, "id", given)
    if isinstance(found, UUID):
        return found
    if isinstance(found, str):
        with suppress(ValueError):
            return UUID(found)
    raise ValueError(f"expected a job or the id of one, found {given!r}")


def first_id_at(moment: datetime) -> UUID:
    """The smallest id that a job enqueued at *moment* (aware) can have, by the clock of who enqueues."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return _uuid((milliseconds & 0xFFFF_FFFF_FFFF) << 80 | _VERSION_AND_VARIANT)


def new_token() -> int:
    """A claim token: a random number that fits a signed 64-bit column and is never 0."""
    return secrets.randbits(62) + 1


def _uuid(value: int) -> UUID:
    # UUID(int=...) checks its six ways to be called first, which takes three times as long as the rest.
    made = object.__new__(UUID)
    object.__setattr__(made, "int", value)
    object.__setattr__(made, "is_safe", SafeUUID.unknown)
    return made


def _fresh_counter() -> int:
    # The top bit stays clear, so that a burst within one millisecond has 2**73 ids to count through.
    return secrets.randbits(_COUNTER_BITS - 1)


def _renew_after_fork() -> None:
    # A child continues with a counter of its own: parent and child would hand out the same ids.
    global _lock, _last_milliseconds
    _lock = threading.Lock()
    _last_milliseconds = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
