"""Why a job with a rate limit waits, in words."""

from django.db.models import Min, QuerySet

from dj_queue.models import Semaphore, SemaphoreHolder
from dj_queue.store.shared import from_column

_REMEDY = (
    "Those of higher priority, and older ones, go first. Another rate takes effect with the next job that is "
    "enqueued with it."
)


def beyond_rate(
    semaphore: Semaphore, holders: QuerySet[SemaphoreHolder], held: int
) -> tuple[str, str]:
    """What to say of a job that waits for a limit whose *holders* are all *held* that there may be.

    A sentence, and what would help.
    """
    sentence = (
        f"It waits for the rate limit {semaphore.key!r}: {held} of {semaphore.limit} jobs became ready "
        f"within {semaphore.period} s"
    )
    if (end := from_column(holders.aggregate(end=Min("expires_at"))["end"])) is not None:
        sentence += f", and the next one may at {end:%F %T %Z}"
    return f"{sentence}.", _REMEDY
