"""Numbers and times as people read them, for the templates of the dashboard and its pages.

Not in `dj_queue.admin`: Django imports the tags of templates in projects that have no admin, too.
"""

from dataclasses import dataclass
from datetime import datetime

from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass(frozen=True, slots=True, order=True)
class Count:
    """How many there are, or that there are at least so many: nobody counts millions for a page."""

    number: int
    is_capped: bool = False

    def __str__(self) -> str:
        return f"{formats.number_format(self.number, force_grouping=True)}{'+' if self.is_capped else ''}"

    def __bool__(self) -> bool:
        return self.number > 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.number + other.number, self.is_capped or other.is_capped)


NONE = Count(0)


def counted(found: int, cap: int) -> Count:
    """*found*, of at most *cap* + 1 that were looked for."""
    return Count(min(found, cap), is_capped=found > cap)


def duration(seconds: float | None) -> str:
    """A length of time in its two largest units; an empty text for None."""
    if seconds is None:
        return ""
    if seconds < 1:
        return pgettext("milliseconds", "%(count)d ms") % {"count": round(max(0, seconds) * 1000)}
    if seconds < 10:
        return pgettext("seconds", "%(count)s s") % {"count": formats.number_format(seconds, 1)}
    if seconds < _MINUTE:
        return pgettext("seconds", "%(count)s s") % {"count": int(seconds)}
    if seconds < _HOUR:
        first, second = divmod(int(seconds), _MINUTE)
        text = pgettext("minutes and seconds", "%(first)d min %(second)d s")
    elif seconds < _DAY:
        first, second = divmod(int(seconds) // _MINUTE, 60)
        text = pgettext("hours and minutes", "%(first)d h %(second)d min")
    else:
        first, second = divmod(int(seconds) // _HOUR, 24)
        text = pgettext("days and hours", "%(first)d d %(second)d h")
    return text % {"first": first, "second": second}


def relative(moment: datetime, now: datetime) -> str:
    """When *moment* is, seen from *now*: "3 min 2 s ago" or "in 5 s"."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 1:
        return _("now")
    if seconds > 0:
        return _("%(duration)s ago") % {"duration": duration(seconds)}
    return _("in %(duration)s") % {"duration": duration(-seconds)}


def exactly(moment: datetime) -> str:
    """*moment* as a date and a time in the reader's zone, with seconds where these are not 0."""
    shown = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    clock = formats.time_format(shown, "H:i:s" if shown.second else "H:i")
    return f"{formats.date_format(shown, 'SHORT_DATE_FORMAT')} {clock}"


def jobs(count: int | Count) -> str:
    """So many jobs, in words."""
    number = count.number if isinstance(count, Count) else count
    return ngettext("%(count)s job", "%(count)s jobs", number) % {"count": count}
