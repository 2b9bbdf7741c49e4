"""Makes jobs that were enqueued, and perhaps ended, some time ago."""

from datetime import timedelta
from itertools import count
from uuid import UUID

from django.utils import timezone

from dj_queue.ids import first_id_at
from dj_queue.models import Job

DAY = timedelta(days=1)

# Calls within a millisecond make different ids.
_CALLS = count()


def make_old(number, *, ago=2 * DAY, task="tests.site.tasks.noop", backend="default", **fields):
    """Jobs that were enqueued *ago*; their ids."""
    moment = timezone.now() - ago
    first = first_id_at(moment).int + next(_CALLS) * 1_000_000
    made = Job.objects.bulk_create(
        Job(
            id=UUID(int=first + place + 1),
            task_path=task,
            payload={"args": [], "kwargs": {}},
            backend_alias=backend,
            created_at=moment,
            **fields,
        )
        for place in range(number)
    )
    return [job.pk for job in made]


def make_finished(number, *, ago=2 * DAY, **fields):
    """Jobs that were enqueued and ended *ago*; their ids."""
    return make_old(number, ago=ago, finished_at=timezone.now() - ago, **fields)
