"""Times, durations and state names for the templates of the dashboard."""

from datetime import datetime
from typing import Any

from django import template
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _

from dj_queue.wording import duration, exactly, relative

register = template.Library()
register.filter(exactly)

NOTHING = "\N{EN DASH}"
"""Where there is no value."""

_STATES = {
    "all": _("all"),
    "ready": _("ready"),
    "scheduled": _("scheduled"),
    "claimed": _("running"),
    "blocked": _("blocked"),
    "failed": _("failed"),
    "finished": _("finished"),
}


@register.filter
def state_name(state: str) -> str:
    """A job's state in the reader's language."""
    return str(_STATES.get(str(state), state))


@register.filter
def seconds(value: float | None) -> str:
    """A number of seconds as a length of time."""
    return duration(value)


@register.filter
def short_id(value: object) -> str:
    """The end of a job's id: the beginning of such ids is the time, and the same for neighbours."""
    return f"…{str(value)[-8:]}"


@register.filter
def last_part(path: str) -> str:
    """The name at the end of a dotted path."""
    return str(path).rpartition(".")[2]


@register.simple_tag
def quantile(histogram: Any, share: float) -> str:
    """The time that *share* of a histogram's counts stayed below."""
    return seconds(histogram.quantile(share)) or NOTHING


@register.simple_tag(takes_context=True)
def heading(
    context: template.Context, section: Any, column: str, label: str, is_number: bool = False
) -> SafeString:
    """The head of a column that its table can be sorted by, as a link that does."""
    direction = section.direction(column)
    # Numbers are mostly wanted from the largest on.
    first = f"-{column}" if is_number else column
    other = column if first.startswith("-") else f"-{column}"
    is_first = section.sort.split(".")[0] == first
    url = _query(
        context,
        {section.sort_parameter: other if is_first else first, section.page_parameter: None},
    )
    arrow = {"ascending": " ▲", "descending": " ▼"}.get(direction, "")
    return format_html(
        '<th scope="col"{} aria-sort="{}"><a href="{}">{}{}</a></th>',
        mark_safe(' class="djq-num"') if is_number else "",
        direction,
        url,
        label,
        arrow,
    )


@register.simple_tag(takes_context=True)
def section_page(context: template.Context, section: Any, number: int) -> str:
    """The address of another page of a table."""
    return _query(context, {section.page_parameter: str(number)})


def _query(context: template.Context, changes: dict[str, str | None]) -> str:
    query = context["request"].GET.copy()
    for name, value in changes.items():
        query.pop(name, None)
        if value is not None:
            query[name] = value
    return f"?{query.urlencode()}"


@register.simple_tag(takes_context=True)
def when(context: template.Context, moment: datetime | None) -> SafeString | str:
    """A moment as somebody reads it: how long ago, with the exact time at hand."""
    if moment is None:
        return NOTHING
    now: datetime = context.get("now") or timezone.now()
    if timezone.is_naive(moment) != timezone.is_naive(now):
        moment = (
            timezone.make_aware(moment)
            if timezone.is_naive(moment)
            else timezone.make_naive(moment)
        )
    shown = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        shown.isoformat(),
        formats.date_format(shown, "DATETIME_FORMAT") + shown.strftime(":%S %Z").rstrip(),
        relative(moment, now),
    )


@register.simple_tag(takes_context=True)
def address(context: template.Context, name: str, *args: Any, **query: Any) -> str:
    """The address of a page of the dashboard on this admin site, for the backend that is shown."""
    page = context["page"]
    return str(page.url(name, *args, **query))
