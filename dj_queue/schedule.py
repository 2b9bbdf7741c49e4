"""Schedules: a line of cron, in the time of one zone, as a series of moments.

    minute hour day month weekday              "30 4 * * mon-fri"
    second minute hour day month weekday       "*/10 * * * * *"
    a preset                                   "@hourly", "@daily" ...
    any of them and a zone                     "0 3 * * * Europe/Madrid"

What happens when clocks are changed depends on what the entry says of hours and minutes:

- It names them ("30 2 * * *"): a time of the day. A time that the clock passes over comes at the first
  moment after the gap; several of them in one gap are one. A time that the clock shows twice comes the
  first time.
- Hours or minutes are `*` or `*/n` ("*/15 * * * *", "0 * * * *"): an interval, which follows real time. It
  comes at each moment whose local time fits: never for a time that the clock passes over, and twice for
  one that it shows twice.

The grammar of the fields is croniter's. Its arithmetic is used on the bare local time only, where no clock
is ever changed; from there to moments it is done here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from datetime import timezone as fixed_zone
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter
from django.utils.timezone import get_default_timezone

from dj_queue.exceptions import InvalidSchedule

PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@noon": "0 12 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)

# A difference to UTC, such as +02:00 or -0530.
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
_LOOKS_LIKE_A_ZONE = re.compile(r"[A-Z][A-Za-z_]*/[A-Za-z]")
# croniter takes these for a number that is made of a name, or by chance.
_HASHED = re.compile(r"[hr]($|[(/])", re.IGNORECASE)
_INTERVAL = re.compile(r"\*(/\d+)?")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A series of moments, whole seconds apart; see `parse`."""

    text: str
    """As it was written."""
    expression: str
    """Five fields, or six with seconds first."""
    zone: tzinfo
    is_interval: bool
    """Whether it follows real time where clocks are changed."""

    def next(self, after: datetime) -> datetime:
        """The first moment later than *after*, which is aware; in UTC.

        Raises `InvalidSchedule` when there is none any more.
        """
        if after.tzinfo is None:
            raise ValueError("a moment without a time zone is none")
        moment = after.astimezone(UTC).replace(microsecond=0)
        return self._next_fitting(moment) if self.is_interval else self._next_named(moment)

    def between(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        """At most *limit* moments later than *after* and not later than *until*, the first of them first."""
        return list(islice(self._until(after, until), limit))

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """The last moment later than *after* and not later than *until*; None if there is none.

        Asks for some ten or twenty moments, however many lie between.
        """
        if after >= until or self.next(after) > until:
            return None
        # From `near` on there is a moment until `until`, from `far` on there is none.
        back, near, far = _SECOND, after, until
        while until - back > after:
            if self.next(until - back) <= until:
                near = until - back
                break
            far, back = until - back, back * 2
        while far - near > _SECOND:
            middle = near + (far - near) / 2
            if self.next(middle) <= until:
                near = middle
            else:
                far = middle
        return self.next(near)

    def newest(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        """The last *limit* moments later than *after* and not later than *until*, in their order."""
        found: list[datetime] = []
        while len(found) < limit and (moment := self.latest(after, until)) is not None:
            found.append(moment)
            until = moment - _SECOND
        return found[::-1]

    def _until(self, after: datetime, until: datetime) -> Iterator[datetime]:
        while (after := self.next(after)) <= until:
            yield after

    def _next_named(self, moment: datetime) -> datetime:
        wall = self._wall(moment)
        if moment.astimezone(self.zone).fold:
            # All until the end of the doubled time has come in its first showing.
            change = self._change(moment - _DAY, moment)
            wall = change - _SECOND + self._offset(change - _SECOND)
            wall = wall.replace(tzinfo=None)
        while True:
            wall = self._next_wall(wall)
            found = self._named_moment(wall)
            if found > moment:
                return found

    def _named_moment(self, wall: datetime) -> datetime:
        """When the clock shows *wall* first, or the first moment after the gap that it is in."""
        local = wall.replace(tzinfo=self.zone)
        before = local.astimezone(UTC)
        if self._wall(before) == wall:
            return before
        # In a gap: with the offset from before the change it is after it, and the other way round.
        return self._change(local.replace(fold=1).astimezone(UTC), before)

    def _next_fitting(self, moment: datetime) -> datetime:
        wall, offset = self._wall(moment), self._offset(moment)
        while True:
            wall = self._next_wall(wall)
            found = (wall - offset).replace(tzinfo=UTC)
            change = self._first_change(moment, found)
            if change is None:
                return found
            # From the change on the clock goes another way; it may show what was already there.
            moment, offset = change, self._offset(change)
            wall = self._wall(change) - _SECOND

    def _next_wall(self, wall: datetime) -> datetime:
        try:
            found: datetime = croniter(
                self.expression, wall, ret_type=datetime, second_at_beginning=True
            ).get_next()
        except (CroniterError, OverflowError):
            raise InvalidSchedule(f"the schedule {self.text!r} has no next time") from None
        return found

    def _wall(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone).replace(tzinfo=None, fold=0)

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self.zone).utcoffset() or timedelta(0)

    def _first_change(self, after: datetime, until: datetime) -> datetime | None:
        """The first change of the clock later than *after*, until *until*."""
        offset = self._offset(after)
        while after < until:
            step = min(after + _DAY, until)
            if self._offset(step) != offset:
                return self._change(after, step)
            after = step
        return None

    def _change(self, before: datetime, after: datetime) -> datetime:
        """The first moment with another offset than at *before*, which at *after* is another one."""
        offset = self._offset(before)
        while after - before > _SECOND:
            middle = (before + (after - before) / 2).replace(microsecond=0)
            if self._offset(middle) == offset:
                before = middle
            else:
                after = middle
        return after


def parse(text: str, timezone: str | None = None) -> Schedule:
    """The schedule that *text* writes, in the zone at its end, else *timezone*, else `TIME_ZONE`.

    Raises `InvalidSchedule` for what is no schedule, never comes, or names two zones or an unknown one.
    """
    if not isinstance(text, str) or not text.strip():
        raise InvalidSchedule(f"a schedule is text such as '0 3 * * *', not {text!r}")
    if timezone is not None and not isinstance(timezone, str):
        raise InvalidSchedule(f"a time zone is text such as 'Europe/Madrid', not {timezone!r}")
    # Without a zone it depends on the settings, and is not remembered.
    default = get_default_timezone() if timezone is None else None
    return _parse(text, timezone, default)


@lru_cache(maxsize=2048)
def _parse(text: str, timezone: str | None, default: tzinfo | None) -> Schedule:
    fields, zone_name = _divided(text)
    if zone_name is not None and timezone is not None and zone_name != timezone:
        raise InvalidSchedule(
            f"the schedule {text!r} names the time zone {zone_name!r}, and beside it stands {timezone!r}; "
            "name one"
        )
    named = timezone if zone_name is None else zone_name
    zone = default if named is None else _zone(named, text)
    schedule = Schedule(
        text=text,
        expression=" ".join(fields),
        zone=zone or UTC,
        # The fields before the last three are minute and hour, perhaps with seconds before them.
        is_interval=any(_INTERVAL.fullmatch(field) for field in fields[-5:-3]),
    )
    _check(schedule, fields)
    return schedule


def _divided(text: str) -> tuple[list[str], str | None]:
    """The five or six fields of *text*, and its zone."""
    words = text.split()
    zone = words.pop() if len(words) > 1 and _is_zone(words[-1]) else None
    if words[0].startswith("@"):
        preset = PRESETS.get(words[0].lower())
        if preset is None or len(words) > 1:
            raise InvalidSchedule(
                f"{text!r} is no schedule: expected one of {', '.join(PRESETS)}, or fields of cron"
            )
        return preset.split(), zone
    if len(words) not in (5, 6):
        raise InvalidSchedule(
            f"{text!r} is no schedule: expected five fields (minute, hour, day, month, weekday), or six "
            f"with seconds first, and perhaps a time zone; found {len(words)}"
        )
    return words, zone


def _is_zone(word: str) -> bool:
    if word == "Z" or _OFFSET.fullmatch(word) or _LOOKS_LIKE_A_ZONE.match(word):
        return True
    # Names without a slash are few and in capitals (UTC, CET); weekdays are none of them.
    return word.isalpha() and word.isupper() and _known(word) is not None


def _zone(name: str, text: str) -> tzinfo:
    if name == "Z":
        return UTC
    if offset := _OFFSET.fullmatch(name):
        sign, hours, minutes = offset.groups()
        passed = timedelta(hours=int(hours), minutes=int(minutes))
        if passed < _DAY:
            return fixed_zone(-passed if sign == "-" else passed)
    elif (known := _known(name)) is not None:
        return known
    raise InvalidSchedule(f"the schedule {text!r}: there is no time zone {name!r}")


def _known(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # The name of a folder, or one that leads out of the folder of zones.
        return None


def _check(schedule: Schedule, fields: list[str]) -> None:
    if any(_HASHED.match(field) for field in fields):
        raise InvalidSchedule(f"{schedule.text!r} is no schedule: H and R are not known here")
    try:
        croniter.expand(schedule.expression, second_at_beginning=True)
    except (CroniterError, ValueError, TypeError, IndexError) as error:
        raise InvalidSchedule(f"{schedule.text!r} is no schedule: {error}") from None
    try:
        schedule.next(datetime.now(UTC))
    except InvalidSchedule:
        raise InvalidSchedule(
            f"the schedule {schedule.text!r} never comes: no such date in the next fifty years"
        ) from None
