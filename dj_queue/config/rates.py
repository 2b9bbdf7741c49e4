"""Entries of `OPTIONS["rate_limits"]`: how many jobs of a queue may start in a period."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from dj_queue.config import values
from dj_queue.config.recurring import LONGEST_QUEUE_NAME, short_text
from dj_queue.exceptions import ConfigurationError

MOST = 2**31 - 1
"""The largest number and the longest period in seconds."""

EXPECTED_PERIOD = "a timedelta or seconds, whole and from 1 up"


def whole_seconds(found: object) -> int | None:
    """A period, which is given as a number of seconds or a `timedelta`; None for what is none.

    Whole seconds only: what a limit of five in half a second means, ten in one second says as well.
    """
    seconds = found.total_seconds() if isinstance(found, timedelta) else found
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return int(seconds) if 1 <= seconds <= MOST and seconds == int(seconds) else None


def is_number_of_jobs(found: object) -> bool:
    """Whether *found* can be the number of jobs in a period."""
    return isinstance(found, int) and not isinstance(found, bool) and 0 < found <= MOST


def _number(found: Any, where: str) -> int:
    if not is_number_of_jobs(found):
        raise values.wrong(where, f"a whole number from 1 to {MOST}", found)
    return int(found)


def _period(found: Any, where: str) -> int:
    seconds = whole_seconds(found)
    if seconds is None:
        raise values.wrong(where, EXPECTED_PERIOD, found)
    return seconds


@dataclass(frozen=True, slots=True)
class RateLimitConfig(values.Configured):
    """How many jobs may start in a period."""

    to: int = field(metadata={"reads": _number})
    per: int = field(metadata={"reads": _period})
    """Seconds."""


def entries(found: Any, where: str) -> Mapping[str, RateLimitConfig]:
    """A reader of a mapping from names of queues to limits."""
    if not isinstance(found, Mapping):
        raise values.wrong(where, "a mapping from queue names to limits", found)
    return {
        _queue(name, where): _entry(entry, f"{where}[{name!r}]") for name, entry in found.items()
    }


def _queue(found: Any, where: str) -> str:
    name = short_text(LONGEST_QUEUE_NAME)(found, f"each key of {where}")
    if name.endswith("*"):
        raise values.wrong(f"each key of {where}", "the name of one queue", found)
    return name


def _entry(found: Any, where: str) -> RateLimitConfig:
    said = values.read_fields(RateLimitConfig, found, where)
    for name in ("to", "per"):
        if name not in said:
            raise ConfigurationError(
                f"{where}[{name!r}] is missing: a rate limit is so many per period"
            )
    return RateLimitConfig(**said)
