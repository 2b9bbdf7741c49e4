"""Retention: keeps the tables from growing for ever, in the process that leads.

What has been kept long enough goes in batches of at most a thousand, each a short transaction on rows
that nobody else touches any more; how short, see `Pace`. How finished jobs are found without an index, and
without reading again and again what stays (old jobs that failed, wait or run): see `finished_walk`.
"""

import math
import time
from collections.abc import Callable

from dj_queue import events
from dj_queue.config import BackendConfig
from dj_queue.operations import cleanup
from dj_queue.operations.statistics import clear_statistics
from dj_queue.operations.workflows import clear_finished_workflows
from dj_queue.runtime.connections import kept_open
from dj_queue.runtime.finished_walk import FinishedWalk, look_every
from dj_queue.store import store_for

BATCH = 1000

# The leader has to show life every second, so it does not work for longer at a stretch.
_STRETCH_SECONDS = 0.5
# Between two stretches, for whatever else the leader has to do.
_BREATH_SECONDS = 0.02
_TELL_SECONDS = 60.0
_TOLD = ("finished", "failed", "recurring")


class Pace:
    """How many rows go in one batch, and how long others have the database to themselves after it.

    Nobody else wants rows that are cleared, so a batch may take a while, and a third of the time is rest.
    But where one transaction writes at a time, each job that is enqueued, begins or ends meanwhile waits
    for the batch, and looks only now and then whether it is its turn: after 1 ms, 2, 5, 10 and so on. There a
    batch is small enough to be over at the second or third look, and two thirds of the time are rest. The
    next batch is half as large after one of more than `_BUSY_SECONDS`, and twice as large after one of less
    than half of that: a payload has a hundred bytes or a megabyte. The database runs in this thread there,
    so it is the thread's time that counts, without waits for others, or batches would be small just when
    much is done.
    """

    _LONGEST_REST_SECONDS = 0.05
    # Where a batch takes longer, it is Python that this thread waits for, and not the database.
    _LONGEST_SHARED_REST_SECONDS = 0.01
    _SMALLEST = 50
    _BUSY_SECONDS = 0.02

    def __init__(self, *, has_one_writer: bool) -> None:
        self._has_one_writer = has_one_writer
        self.clock = time.thread_time if has_one_writer else time.monotonic
        self.size = BATCH // 2 if has_one_writer else BATCH

    def rest(self, seconds: float) -> float:
        """How long to rest after a batch that took *seconds* of `clock`; the next may have another size."""
        if not self._has_one_writer:
            return min(self._LONGEST_SHARED_REST_SECONDS, seconds / 2)
        if seconds > self._BUSY_SECONDS:
            self.size = max(self._SMALLEST, self.size // 2)
        elif seconds < self._BUSY_SECONDS / 2:
            self.size = min(BATCH, self.size * 2)
        return min(self._LONGEST_REST_SECONDS, seconds * 2)


class Retention:
    """Deletes what *config*'s backend has kept long enough. For one thread; the leader calls `work`."""

    def __init__(self, config: BackendConfig) -> None:
        options = config.options
        self._config = config
        self._pace = Pace(has_one_writer=store_for(options.database_alias).has_one_writer)
        self._kinds: list[_Kind | FinishedWalk] = []
        if options.clear_finished_jobs_after is not None:
            self._kinds.append(FinishedWalk(config, options.clear_finished_jobs_after))
            after = options.clear_finished_jobs_after
            self._kinds.append(_Kind("workflows", after, self._clear_workflows))
        if (failed_after := options.clear_failed_jobs_after) is not None:
            self._kinds.append(_Kind("failed", failed_after, self._clear_failed))
        if (recurring_after := options.clear_recurring_executions_after) is not None:
            self._kinds.append(_Kind("recurring", recurring_after, self._clear_recurring))
        if (statistics_after := options.clear_statistics_after) is not None:
            self._kinds.append(_Kind("statistics", statistics_after, self._clear_statistics))
        self._cleared = dict.fromkeys(_TOLD, 0)
        self._told_at = 0.0

    @property
    def is_configured(self) -> bool:
        """Whether there is anything that is not kept for ever."""
        return bool(self._kinds)

    def work(self, until: float | None = None) -> float:
        """Delete what is due, for half a second at the most and not beyond *until* (monotonic).

        How many seconds to wait before the next call; infinite when nothing is configured. Raises what
        the database raises; the next call goes on where this one stopped.
        """
        deadline = time.monotonic() + _STRETCH_SECONDS
        if until is not None:
            deadline = min(deadline, until)
        database = self._config.options.database_alias
        with kept_open(database), store_for(database).in_no_hurry():
            for kind in self._kinds:
                while kind.is_due and time.monotonic() < deadline:
                    began = self._pace.clock()
                    self._count(kind.name, kind.clear_batch(self._pace.size))
                    time.sleep(self._pace.rest(self._pace.clock() - began))
        is_done = not any(kind.is_due for kind in self._kinds)
        if not is_done:
            # There may always be more of the first, and the others want their turn.
            self._kinds.append(self._kinds.pop(0))
        self._tell(is_done=is_done)
        if not is_done:
            return _BREATH_SECONDS
        return min((kind.seconds_to_look for kind in self._kinds), default=math.inf)

    def _clear_failed(self, size: int) -> int:
        return cleanup.clear_failed_jobs(
            older_than=self._config.options.clear_failed_jobs_after,
            batch_size=size,
            backend_alias=self._config.alias,
        )

    def _clear_recurring(self, size: int) -> int:
        return cleanup.clear_recurring_executions(
            older_than=self._config.options.clear_recurring_executions_after,
            batch_size=size,
            backend_alias=self._config.alias,
        )

    def _clear_workflows(self, size: int) -> int:
        return clear_finished_workflows(
            older_than=self._config.options.clear_finished_jobs_after,
            batch_size=size,
            backend_alias=self._config.alias,
        )

    def _clear_statistics(self, size: int) -> int:
        return clear_statistics(
            older_than=self._config.options.clear_statistics_after,
            batch_size=size,
            backend_alias=self._config.alias,
        )

    def _count(self, name: str, cleared: int) -> None:
        # Minutes of statistics go all the time, and workflows with their jobs: not worth a word.
        if name in _TOLD:
            self._cleared[name] += cleared

    def _tell(self, *, is_done: bool) -> None:
        is_time = is_done or time.monotonic() - self._told_at > _TELL_SECONDS
        if is_time and any(self._cleared.values()):
            events.emit(events.OldJobsCleared(self._config.alias, **self._cleared))
            self._cleared = dict.fromkeys(self._cleared, 0)
            self._told_at = time.monotonic()


class _Kind:
    """One kind of rows, with the times at which it is looked for them."""

    def __init__(self, name: str, after_seconds: float, clear: Callable[[int], int]) -> None:
        self.name = name
        self._look_every = look_every(after_seconds)
        self._clear = clear
        self._look_at = 0.0

    @property
    def is_due(self) -> bool:
        """Whether there may be something to delete now."""
        return time.monotonic() >= self._look_at

    @property
    def seconds_to_look(self) -> float:
        """Until it is due again."""
        return max(0.0, self._look_at - time.monotonic())

    def clear_batch(self, size: int) -> int:
        """Delete up to *size* rows; how many. Not due any more when that was all."""
        count = self._clear(size)
        if count < size:
            self._look_at = time.monotonic() + self._look_every
        return count
