"""How many jobs each queue has in each state, none of them counted beyond a limit, and since when they wait.

Ready, scheduled and blocked jobs are counted queue by queue, each as far as `CAP` rows of an index. Running
jobs have no queue in their own row: `WINDOW` of them are looked up.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import connections

from dj_queue.config import BackendConfig
from dj_queue.reads import counts
from dj_queue.reads.kept import LARGE, Kept
from dj_queue.reads.moments import read_moment
from dj_queue.states import JobState
from dj_queue.wording import Count, counted

CAP = 10_000
"""Jobs that wait in a queue are counted up to so many, in an index alone."""

WINDOW = 5000
"""Running jobs that are looked up."""

NEXT = 1000
"""Ready jobs of each queue among which the oldest is looked for: the next ones to be claimed."""

# Queues of which the oldest ready job is looked for with one statement.
_QUEUES_AT_ONCE = 100


class _Place(NamedTuple):
    """Jobs in one state in one queue."""

    database: str
    backend_alias: str
    state: JobState
    queue_name: str


_large: Kept[_Place, Count] = Kept()
_oldest: Kept[_Place, datetime] = Kept()


def waiting(config: BackendConfig, names: Iterable[str]) -> dict[tuple[JobState, str], Count]:
    """Ready, scheduled and blocked jobs of each queue in *names*; those without any are left out."""
    places = [_place(config, state, name) for name in names for state in counts.WAITING]
    found = _large.known(places)
    asked = [(place.state, place.queue_name) for place in places if place not in found]
    fresh = {
        _place(config, state, name): counted(number, CAP)
        for (state, name), number in counts.capped(config, asked, CAP).items()
    }
    _large.keep({place: count for place, count in fresh.items() if count.number >= LARGE})
    found |= fresh
    return {(place.state, place.queue_name): count for place, count in found.items() if count}


def oldest_ready(config: BackendConfig, ready: dict[str, Count]) -> dict[str, datetime]:
    """Since when the oldest of the next ready jobs of each queue waits; *ready* says how many there are."""
    places = {_place(config, JobState.READY, name): name for name in ready}
    found = {places[place]: since for place, since in _oldest.known(places).items()}
    names = [name for name in ready if name not in found]
    for start in range(0, len(names), _QUEUES_AT_ONCE):
        for name, since in _next(config, names[start : start + _QUEUES_AT_ONCE]):
            found[name] = since
    _oldest.keep(
        {
            place: found[name]
            for place, name in places.items()
            if name in names and name in found and ready[name].number >= LARGE
        }
    )
    return found


def running(config: BackendConfig) -> dict[str, Count]:
    """Running jobs of each queue, as far as they are among the `WINDOW` oldest."""
    with connections[config.options.database_alias].cursor() as cursor:
        cursor.execute(_RUNNING.format(limit=WINDOW + 1))
        rows = cursor.fetchall()
    is_capped = sum(number for _, _, number in rows) > WINDOW
    return {
        name: Count(min(number, WINDOW), is_capped=is_capped)
        for backend, name, number in rows
        if backend == config.alias
    }


def forget() -> None:
    """Count again what is large: this process has just changed it."""
    _large.forget()
    _oldest.forget()
    counts.forget()


# The queues come from the jobs' own rows, each found by its key; of the window only sums are sent.
_RUNNING = """
    SELECT jobs.backend_alias, jobs.queue_name, COUNT(*) FROM (
        SELECT job_id FROM dj_queue_claimed_executions ORDER BY id LIMIT {limit}
    ) running JOIN dj_queue_jobs jobs ON jobs.id = running.job_id
    GROUP BY jobs.backend_alias, jobs.queue_name
"""

_NEXT = """SELECT {place}, (
    SELECT MIN(since) FROM (
        SELECT COALESCE(latency_started_at, created_at) AS since FROM dj_queue_ready_executions
        WHERE backend_alias = %s AND queue_name = %s LIMIT {next}
    ) AS next_{place}
)"""


def _next(config: BackendConfig, names: Sequence[str]) -> Iterable[tuple[str, datetime]]:
    database = config.options.database_alias
    parts = [_NEXT.format(next=NEXT, place=place) for place in range(len(names))]
    with connections[database].cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join(parts), [value for name in names for value in (config.alias, name)]
        )
        rows = cursor.fetchall()
    for place, value in rows:
        since = read_moment(database, value)
        if since is not None:
            yield names[int(place)], since


def _place(config: BackendConfig, state: JobState, name: str) -> _Place:
    return _Place(config.options.database_alias, config.alias, state, name)
