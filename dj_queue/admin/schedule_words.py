"""Schedules in plain words: "every day at 03:00" for `0 3 * * *`.

Only what can be said without doubt is said. Of a schedule that no sentence here fits there are no words, and
its next times have to speak for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time

from django.utils import formats, timezone
from django.utils.dates import MONTHS, WEEKDAYS
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from dj_queue.exceptions import InvalidSchedule
from dj_queue.schedule import Schedule, parse

# Times of day that are named one by one.
_MOST_TIMES = 6

_DAYS_BY_NAME = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS_BY_NAME = (
    "", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
)  # fmt: skip


class _NoWordsError(Exception):
    """The schedule is written in a way that there is no sentence for."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a schedule."""

    numbers: tuple[int, ...] = ()
    """Those that it names; none where it is every one, or a step."""
    step: int = 0
    """From the first on; 1 for every one."""
    is_range: bool = False
    """Whether it was written as one range, without a step."""

    @property
    def is_every(self) -> bool:
        return self.step == 1

    @property
    def only(self) -> int | None:
        """Its number, if it names just one."""
        return self.numbers[0] if len(self.numbers) == 1 else None


def in_words(text: str, zone_name: str | None = None) -> str:
    """The schedule *text* as a sentence in the reader's language; empty where there are no words for it."""
    try:
        schedule = parse(text, zone_name)
        words = _sentence(schedule.expression.split())
    except (InvalidSchedule, _NoWordsError):
        return ""
    zone = _foreign_zone(schedule)
    return _("%(schedule)s (%(zone)s)") % {"schedule": words, "zone": zone} if zone else words


def _foreign_zone(schedule: Schedule) -> str:
    """The name of its zone, unless the reader's clock shows the same."""
    name = getattr(schedule.zone, "key", None) or str(schedule.zone)
    return "" if name == timezone.get_current_timezone_name() else name


def _sentence(fields: Sequence[str]) -> str:
    second = _field(fields[0], 0, 59) if len(fields) == 6 else _Field((0,))
    minute, hour = _field(fields[-5], 0, 59), _field(fields[-4], 0, 23)
    days = _days(fields[-3], fields[-1])
    parts = []
    if minute.numbers and hour.numbers and second.only is not None:
        times = _times(hour, minute, second.only)
        parts.append(
            pgettext("days, and times of the day", "%(days)s at %(times)s")
            % {"days": days or _("every day"), "times": times}
            if times
            else _every_hour_between(hour, minute, second.only)
        )
        parts += [days] if days and not times else []
    else:
        parts += [_frequency(second, minute, hour), days]
    parts.append(_months(_field(fields[-2], 1, 12, _MONTHS_BY_NAME)))
    return ", ".join(part for part in parts if part)


def _times(hour: _Field, minute: _Field, second: int) -> str:
    """Times of day, one by one; empty where there are too many for that."""
    if len(hour.numbers) * len(minute.numbers) > _MOST_TIMES:
        return ""
    found = [_clock(h, m, second) for h in hour.numbers for m in minute.numbers]
    return str(get_text_list(found, _("and")))


def _every_hour_between(hour: _Field, minute: _Field, second: int) -> str:
    if not hour.is_range or second or minute.only is None:
        raise _NoWordsError
    return _("every hour from %(first)s to %(last)s") % {
        "first": _clock(hour.numbers[0], minute.numbers[0]),
        "last": _clock(hour.numbers[-1], minute.numbers[0]),
    }


def _frequency(second: _Field, minute: _Field, hour: _Field) -> str:
    """How often, where the times of day are not named."""
    if second.step:
        if not (minute.is_every and hour.is_every):
            raise _NoWordsError
        return _every_second(second.step)
    if second.numbers != (0,):
        raise _NoWordsError
    if minute.step:
        return _every_minute(minute.step) + _hours(hour)
    at = _past_the_hour(minute.numbers)
    if hour.is_every:
        return at
    return _("%(hours)s, %(minutes)s") % {"hours": _every_hour(hour.step), "minutes": at}


def _every_second(step: int) -> str:
    if 60 % step:
        raise _NoWordsError
    return ngettext("every second", "every %(count)d seconds", step) % {"count": step}


def _every_minute(step: int) -> str:
    # */7 begins anew with each hour, which "every 7 minutes" would not say.
    if 60 % step:
        raise _NoWordsError
    return ngettext("every minute", "every %(count)d minutes", step) % {"count": step}


def _every_hour(step: int) -> str:
    if 24 % step:
        raise _NoWordsError
    return ngettext("every hour", "every %(count)d hours", step) % {"count": step}


def _hours(hour: _Field) -> str:
    """The part of the day that a frequency is for."""
    if hour.is_every:
        return ""
    if hour.step or not (hour.is_range or hour.only is not None):
        raise _NoWordsError
    return " " + _("from %(first)s to %(last)s") % {
        "first": _clock(hour.numbers[0], 0),
        "last": _clock(hour.numbers[-1], 59),
    }


def _past_the_hour(minutes: Sequence[int]) -> str:
    if tuple(minutes) == (0,):
        return _("on the hour")
    if len(minutes) > _MOST_TIMES:
        raise _NoWordsError
    named = get_text_list([f"{each:02}" for each in minutes], _("and"))
    return ngettext(
        "at minute %(minutes)s of the hour", "at minutes %(minutes)s of the hour", len(minutes)
    ) % {"minutes": named}


def _days(of_month: str, of_week: str) -> str:
    """On which days; empty for every day. With both fields set, cron means the days of either."""
    found = []
    if of_month.upper() == "L":
        found.append(_("on the last day of the month"))
    elif not (days := _field(of_month, 1, 31)).is_every:
        if days.step or (len(days.numbers) > _MOST_TIMES and not days.is_range):
            raise _NoWordsError
        found.append(_days_of_month(days))
    if not (weekdays := _field(of_week, 0, 7, _DAYS_BY_NAME)).is_every:
        if weekdays.step:
            raise _NoWordsError
        found.append(_weekdays(weekdays))
    return str(get_text_list(found, _("and")))


def _days_of_month(days: _Field) -> str:
    if days.is_range:
        return _("on days %(first)d to %(last)d of the month") % {
            "first": days.numbers[0],
            "last": days.numbers[-1],
        }
    named = get_text_list([str(each) for each in days.numbers], _("and"))
    return ngettext(
        "on day %(days)s of the month", "on days %(days)s of the month", len(days.numbers)
    ) % {"days": named}


def _weekdays(days: _Field) -> str:
    # Sunday is both 0 and 7 in cron, and 6 in Django, where the week begins with Monday.
    names = [str(WEEKDAYS[(number - 1) % 7]) for number in days.numbers]
    if days.is_range and len(names) > 2:
        return _("from %(first)s to %(last)s") % {"first": names[0], "last": names[-1]}
    ordered = sorted(set(names), key=[str(name) for name in WEEKDAYS.values()].index)
    return _("every %(days)s") % {"days": get_text_list(ordered, _("and"))}


def _months(months: _Field) -> str:
    if months.is_every:
        return ""
    if months.step:
        raise _NoWordsError
    names = [str(MONTHS[number]) for number in months.numbers]
    if months.is_range and len(names) > 2:
        return _("from %(first)s to %(last)s") % {"first": names[0], "last": names[-1]}
    return _("in %(months)s") % {"months": get_text_list(names, _("and"))}


def _clock(hour: int, minute: int, second: int = 0) -> str:
    at = time(hour, minute, second)
    return at.strftime("%H:%M:%S") if second else formats.time_format(at, "H:i")


def _field(text: str, first: int, last: int, names: Sequence[str] = ()) -> _Field:
    """What *text* names of the numbers from *first* to *last*.

    Raises `_NoWordsError` for what only cron understands.
    """
    if text in ("*", "?"):
        return _Field(step=1)
    if text.startswith("*/") and text[2:].isdecimal():
        return _Field(step=int(text[2:]))
    numbers: list[int] = []
    ranges = text.split(",")
    for each in ranges:
        begin, dash, end = each.partition("-")
        low = _number(begin, first, last, names)
        high = _number(end, first, last, names) if dash else low
        if high < low:
            raise _NoWordsError
        numbers += range(low, high + 1)
    is_range = len(ranges) == 1 and len(numbers) > 1
    return _Field(tuple(sorted(set(numbers))), is_range=is_range)


def _number(text: str, first: int, last: int, names: Sequence[str]) -> int:
    if text.isdecimal() and first <= int(text) <= last:
        return int(text)
    if text.lower() in names:
        return list(names).index(text.lower())
    raise _NoWordsError
