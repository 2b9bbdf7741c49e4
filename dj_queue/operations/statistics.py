"""Old minutes and hours of the statistics are deleted; the totals stay."""

from datetime import timedelta

from dj_queue.config import backend_config
from dj_queue.models import Statistic
from dj_queue.models.statistics import TOTALS, hour_of
from dj_queue.operations.removal import delete_raw
from dj_queue.store import store_for


def clear_statistics(
    *, older_than: float | None = None, batch_size: int = 500, backend_alias: str = "default"
) -> int:
    """Delete up to *batch_size* rows of minutes and of hours that ended longer than *older_than* seconds ago.

    How many were deleted.

    Without *older_than* `OPTIONS["clear_statistics_after"]` counts, and without that nothing is deleted.
    """
    config = backend_config(backend_alias)
    age = config.options.clear_statistics_after if older_than is None else older_than
    if age is None:
        return 0
    database = config.options.database_alias
    first_kept = int((store_for(database).now() - timedelta(seconds=age)).timestamp()) // 60
    rows = Statistic.objects.using(database).filter(backend_alias=backend_alias)
    found: list[int] = []
    for old in (
        rows.filter(minute__gt=TOTALS, minute__lt=first_kept),
        rows.filter(minute__lt=TOTALS, minute__gt=hour_of(first_kept)),
    ):
        # In the order of the key, so that two who do this lock the same rows in the same order.
        ordered = old.order_by("minute", "queue_name", "task_path").values_list("pk", flat=True)
        found += ordered[: batch_size - len(found)]
    return delete_raw(Statistic.objects.using(database).filter(pk__in=found)) if found else 0
