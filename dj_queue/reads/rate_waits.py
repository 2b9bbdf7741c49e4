"""Why a job with a rate limit waits, in words."""

from django.db.models import Min, QuerySet
from django.utils.translation import gettext as _

from dj_queue.models import Semaphore, SemaphoreHolder
from dj_queue.store.shared import from_column


def beyond_rate(
    semaphore: Semaphore, holders: QuerySet[SemaphoreHolder], held: int
) -> tuple[str, str]:
    """What to say of a job that waits for a limit whose *holders* are all *held* that there may be.

    A sentence, and what would help.
    """
    remedy = _(
        "Those of higher priority, and older ones, go first. Another rate takes effect with "
        "the next job that is enqueued with it."
    )
    if (end := from_column(holders.aggregate(end=Min("expires_at"))["end"])) is not None:
        sentence = _(
            "It waits for the rate limit %(key)s: %(held)s of %(limit)s jobs became ready "
            "within %(period)s s, and the next one may at %(end)s."
        ) % {
            "key": repr(semaphore.key),
            "held": held,
            "limit": semaphore.limit,
            "period": semaphore.period,
            "end": format(end, "%F %T %Z"),
        }
    else:
        sentence = _(
            "It waits for the rate limit %(key)s: %(held)s of %(limit)s jobs became ready "
            "within %(period)s s."
        ) % {
            "key": repr(semaphore.key),
            "held": held,
            "limit": semaphore.limit,
            "period": semaphore.period,
        }
    return sentence, remedy
