"""Concurrency limits: which keys there are, who holds their slots and who waits."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext as _

from dj_queue.admin.page import Page
from dj_queue.admin.queries import keyset
from dj_queue.models import BlockedExecution, Semaphore, SemaphoreHolder
from dj_queue.wording import Count

_PAGE = 50
_ORDER = ("key",)

# Holders and waiters of the keys on a page that are counted.
_WINDOW = 10_000


@dataclass(frozen=True, slots=True)
class LimitRow:
    """A key with its slots."""

    key: str
    limit: int
    period: int | None
    """Seconds, of a rate limit."""
    used: Count
    waiting: Count
    limit_set_at: Any
    change_url: str

    @property
    def is_full(self) -> bool:
        """Whether the next job has to wait."""
        return self.used.number >= self.limit

    @property
    def is_over(self) -> bool:
        """Whether more run than the limit allows, because it was lowered."""
        return self.used.number > self.limit


def limits(page: Page) -> HttpResponse:
    """`dj_queue_dashboard_limits`: keys in their order, those that begin with `?q=`."""
    wanted = page.request.GET.get("q", "")
    rows = Semaphore.objects.using(page.database)
    if wanted:
        # A range of the index of keys. LIKE would not use it in every collation.
        rows = rows.filter(key__gte=wanted, key__lt=wanted + "\U0010fffd")
    cursor = keyset.read(page.request.GET.get("after"), Semaphore, _ORDER)
    found = keyset.rows_after(
        rows, _ORDER, ("id", "limit", "period", "limit_set_at"), cursor, _PAGE + 1
    )
    shown = found[:_PAGE]
    after = keyset.written(keyset.cursor_of(shown[-1], _ORDER)) if len(found) > _PAGE else ""
    context = {
        "limits": _counted(page, shown),
        "q": wanted,
        "next_url": page.url("limits", after=after, q=wanted) if after else "",
    }
    return page.render("limits", "limits", _("Concurrency limits"), context)


def _counted(page: Page, shown: list[dict[str, Any]]) -> list[LimitRow]:
    keys = [row["key"] for row in shown]
    held, waiting = (
        _numbers(rows.filter(**{f"{column}__in": keys}), column)
        for rows, column in (
            (SemaphoreHolder.in_use(page.database), "key"),
            (BlockedExecution.objects.using(page.database), "concurrency_key"),
        )
    )
    return [
        LimitRow(
            row["key"],
            row["limit"],
            row["period"],
            held(row["key"]),
            waiting(row["key"]),
            row["limit_set_at"],
            page.object_url("semaphore", row["id"]),
        )
        for row in shown
    ]


def _numbers(rows: Any, column: str) -> Any:
    found = Counter(rows.order_by().values_list(column, flat=True)[: _WINDOW + 1])
    is_full = found.total() > _WINDOW
    return lambda key: Count(found[key], is_capped=is_full)
