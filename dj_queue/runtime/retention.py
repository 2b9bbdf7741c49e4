"""Retention: keeps the tables from growing for ever, in the process that leads.

What has been kept long enough goes in batches of at most a thousand, each a short transaction on rows
that nobody else touches any more; how short, see `Pace`. How finished jobs are found without an index, and
without reading again and again what stays (old jobs that failed, wait or run): see `FinishedWalk`.
"""

import math
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from dj_queue import events
from dj_queue.config import BackendConfig
from dj_queue.operations import cleanup
from dj_queue.operations.statistics import clear_statistics
from dj_queue.operations.workflows import clear_finished_workflows
from dj_queue.runtime.connections import kept_open
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
    for the batch, and looks only now and then whether it is its turn. There the next batch is half as large
    after one of more than `_BUSY_SECONDS`, and twice as large after one of less than half of that: a
    payload has a hundred bytes or a megabyte. The database runs in this thread there, so it is the thread's
    time that counts, without waits for others, or batches would be small just when much is done.
    """

    _LONGEST_REST_SECONDS = 0.05
    _SMALLEST = 100
    _BUSY_SECONDS = 0.02

    def __init__(self, *, has_one_writer: bool) -> None:
        self._has_one_writer = has_one_writer
        self.clock = time.thread_time if has_one_writer else time.monotonic
        self.size = BATCH // 2 if has_one_writer else BATCH

    def rest(self, seconds: float) -> float:
        """How long to rest after a batch that took *seconds* of `clock`; the next may have another size."""
        if not self._has_one_writer:
            return min(self._LONGEST_REST_SECONDS, seconds / 2)
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
        self._kinds: list[_Kind] = []
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
        # A tenth of the time that rows are kept is how much longer some stay.
        self.look_every = min(60.0, max(1.0, after_seconds / 10))
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
            self._look_at = time.monotonic() + self.look_every
        return count


class FinishedWalk(_Kind):
    """Finished jobs, found by walking the key of jobs in order of their enqueue.

    The walk follows the time: it goes on from where it stopped up to jobs enqueued a little before those
    that may be old enough, and so reads every job once. The little (`_lag`) is for jobs to finish: most
    that are passed are old enough then. What is passed and stays, because it had failed, waited, run
    or ended late, is looked at again from the start of the table once in a while (`_again_every`); and more
    rarely if there is so much of it that reading it takes more than a hundredth of the time. Time in which
    jobs are deleted does not count for that: with many that end late, rounds would become ever rarer.
    """

    def __init__(self, config: BackendConfig, after_seconds: float) -> None:
        super().__init__("finished", after_seconds, self._walk_on)
        self._config = config
        self._after_seconds = after_seconds
        self._lag = timedelta(seconds=min(600.0, after_seconds / 10))
        self._again_every = min(3600.0, max(1.0, after_seconds / 10))
        self._place: UUID | None = None
        self._again_at = math.inf
        self._round_seconds = 0.0
        self._is_round = True

    def clear_batch(self, size: int) -> int:
        """See `_Kind.clear_batch`."""
        if time.monotonic() >= self._again_at:
            self._place, self._is_round, self._again_at = None, True, math.inf
            self._round_seconds = 0.0
        return self._walk_on(size)

    def _walk_on(self, size: int) -> int:
        began = time.monotonic()
        now = store_for(self._config.options.database_alias).now()
        cutoff = cleanup.cutoff_at(now, self._after_seconds)
        end = cleanup.end_of_walk(cutoff - self._lag)
        page = cleanup.clear_page(self._config, cutoff, after=self._place, before=end, size=size)
        # What was deleted was worth its time.
        self._round_seconds += (time.monotonic() - began) * (1 - page.cleared / size)
        if page.last is not None:
            self._place = page.last
        else:
            self._arrive(end)
        return page.cleared

    def _arrive(self, end: UUID) -> None:
        """The walk has come to *end*; the next begins there when it is due."""
        now = time.monotonic()
        self._place = end
        self._look_at = now + self.look_every
        if self._is_round:
            self._is_round = False
            self._again_at = now + max(self._again_every, 100 * self._round_seconds)
