"""How many jobs a worker asks for, and of which lanes it has a reason to ask at all."""

from collections.abc import Sequence

from dj_queue.config import WorkerConfig
from dj_queue.runtime.eventloop import EventLoop
from dj_queue.runtime.places import Places
from dj_queue.runtime.pool import ThreadPool
from dj_queue.runtime.sizing import MAX_CLAIM, Sizing
from dj_queue.states import Executor, Lanes
from dj_queue.store.records import ClaimedJob, Outcome, Room


class Demand:
    """What a worker knows of the jobs that wait for it. A lane is named by its first executor."""

    def __init__(
        self,
        lanes: Lanes,
        pool: ThreadPool,
        loop: EventLoop,
        places: Places,
        worker: WorkerConfig,
    ) -> None:
        self._lanes = lanes
        self._pool = pool
        self._loop = loop
        self._places = places
        self._sizing = Sizing()
        self._takes_ahead = worker.prefetch_multiplier > 1
        # Lanes for which nothing says that no job is ready: their last claim got all it asked for, or
        # there was a call while they had no room.
        self._may_have_more: set[Executor] = set()

    def called(self) -> None:
        """There is work, of whatever lane."""
        self._may_have_more.update(lane[0] for lane in self._lanes if lane)

    def may_have_more(self, lane: Executor) -> bool:
        """Whether jobs of *lane* may be ready."""
        return lane in self._may_have_more

    def room(self, most: int) -> Room:
        """How many jobs to ask for now, *most* in all."""
        threads = min(most, self._free_threads() if Executor.THREAD in self._may_have_more else 0)
        tasks = self._free_tasks() if Executor.ASYNC in self._may_have_more else 0
        return Room(threads, min(most - threads, tasks))

    def answered(self, room: Room, claimed: Sequence[ClaimedJob]) -> None:
        """A claim for *room* got *claimed*."""
        tasks = sum(job.executor in self._lanes.loop for job in claimed)
        threads = len(claimed) - tasks
        for lane, asked, got in (
            (Executor.THREAD, room.threads, threads),
            (Executor.ASYNC, room.tasks, tasks),
        ):
            if asked and got >= asked:
                self._may_have_more.add(lane)
            elif asked:
                self._may_have_more.discard(lane)

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        """Take note of how long jobs took."""
        self._sizing.ended(
            [
                (outcome.finished_at - outcome.started_at).total_seconds()
                for outcome in outcomes
                if outcome.job.executor in self._lanes.pool
            ]
        )

    def hoarded(self) -> None:
        """Jobs waited in vain for a thread."""
        self._sizing.hoarded()

    def _free_tasks(self) -> int:
        return min(MAX_CLAIM, max(0, self._loop.free - self._places.taken(Executor.ASYNC)))

    def _free_threads(self) -> int:
        pool = self._pool
        ahead = self._sizing.ahead(pool.size) if self._takes_ahead else 0
        waiting = len(pool.jobs)
        # Refilled when half is gone, so that each request asks for many.
        if waiting > ahead // 2:
            return 0
        taken = pool.busy + self._places.taken(Executor.THREAD)
        return min(MAX_CLAIM, max(0, pool.size - taken + ahead - waiting))
