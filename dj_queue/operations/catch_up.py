"""Which times of a recurring task are fired now: the one that has come, or some of those that have passed."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from dj_queue.schedule import Schedule

ON_TIME_SECONDS = 60
"""A scheduler that has looked so short a time ago was not away: whatever has come since is fired."""

_GRACE = timedelta(seconds=5)
"""A time so short ago has not been missed yet, when one scheduler takes over from another."""

_SECOND = timedelta(seconds=1)


class Due(NamedTuple):
    """What to fire."""

    times: Sequence[datetime]
    """In their order."""
    is_short: bool
    """Whether times that have passed are left out."""


def due_times(
    schedule: Schedule,
    first: datetime,
    now: datetime,
    *,
    catch_up: str,
    limit: int,
    was_away: bool,
) -> Due:
    """The times of *schedule* to fire at *now*, when *first* is the first that was not fired.

    Unless the scheduler *was_away* all of them, because they have only just come. Otherwise as *catch_up*
    says: with `skip` none but one of this very moment, with `latest` the last one, with `all` the last
    *limit* of them.
    """
    after = first - _SECOND
    if not was_away:
        catch_up, limit = "all", max(limit, ON_TIME_SECONDS)
    if catch_up == "all":
        found = schedule.between(after, now, limit + 1)
        if len(found) <= limit:
            return Due(found, is_short=False)
        return Due(schedule.newest(after, now, limit), is_short=True)
    latest = schedule.latest(after, now)
    if latest is None:
        return Due((), is_short=False)
    if catch_up == "skip" and latest < now - _GRACE:
        return Due((), is_short=True)
    return Due((latest,), is_short=latest > first)
