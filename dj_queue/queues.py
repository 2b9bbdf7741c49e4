"""One queue as its operators see it: how much waits in it and for how long, pause, resume, clear."""

from collections.abc import Mapping
from typing import Self

from asgiref.sync import sync_to_async

from dj_queue.config import BackendConfig, backend_config
from dj_queue.operations.discard import clear_queue
from dj_queue.operations.queues import pause_queue, resume_queue
from dj_queue.reads import queues as reads
from dj_queue.reads.queues import NOTHING_READY, ReadyState


class QueueInfo:
    """A queue of a backend. Making one asks nothing, and a queue need not have had a job to have one.

    Each attribute asks the database when it is read. Those of the queues that `all` returns share one
    answer, until one of them is changed by its own methods.
    """

    def __init__(
        self, queue_name: str, *, backend_alias: str = "default", snapshot: "Snapshot | None" = None
    ) -> None:
        """*snapshot* is what `all` hands over."""
        self.queue_name = queue_name
        self.backend_alias = backend_alias
        self._snapshot = snapshot

    def __repr__(self) -> str:
        return f"QueueInfo({self.queue_name!r}, backend_alias={self.backend_alias!r})"

    @classmethod
    def all(cls, *, backend_alias: str = "default") -> list[Self]:
        """Every known queue, sorted by name: see `dj_queue.reads.queues.known_queues`."""
        config = backend_config(backend_alias)
        snapshot = Snapshot(config)
        return [
            cls(name, backend_alias=backend_alias, snapshot=snapshot)
            for name in reads.known_queues(config)
        ]

    @property
    def size(self) -> int:
        """How many jobs are ready."""
        if self._snapshot is not None:
            return self._state.size
        return reads.size(self._config, self.queue_name)

    @property
    def latency(self) -> float | None:
        """Seconds that the oldest ready job has waited, without pauses; 0.0 if none, None while paused."""
        return self._state.latency

    @property
    def paused(self) -> bool:
        """Whether jobs of this queue are not claimed."""
        if self._snapshot is not None:
            return self._state.is_paused
        return bool(reads.paused_queues(self._config, [self.queue_name]))

    def pause(self) -> None:
        """Have no further jobs claimed; running ones go on. A second time changes nothing."""
        self._snapshot = None
        pause_queue(self._config, self.queue_name)

    def resume(self) -> None:
        """Have jobs claimed again, at once; changes nothing when the queue is not paused."""
        self._snapshot = None
        resume_queue(self._config, self.queue_name)

    def clear(self, *, batch_size: int = 500) -> int:
        """Delete the jobs that are ready now; how many. Jobs that wait for a slot or their time stay."""
        self._snapshot = None
        return clear_queue(self._config, self.queue_name, batch_size=batch_size)

    async def apause(self) -> None:
        """See `pause`."""
        await sync_to_async(self.pause)()

    async def aresume(self) -> None:
        """See `resume`."""
        await sync_to_async(self.resume)()

    async def aclear(self, *, batch_size: int = 500) -> int:
        """See `clear`."""
        return await sync_to_async(self.clear)(batch_size=batch_size)

    @property
    def _config(self) -> BackendConfig:
        return backend_config(self.backend_alias)

    @property
    def _state(self) -> ReadyState:
        if self._snapshot is not None:
            return self._snapshot.states.get(self.queue_name, NOTHING_READY)
        found = reads.ready_states(self._config, [self.queue_name])
        return found.get(self.queue_name, NOTHING_READY)


class Snapshot:
    """What waits in all queues of a backend, asked once and only when somebody wants to know."""

    def __init__(self, config: BackendConfig) -> None:
        self._config = config
        self._states: Mapping[str, ReadyState] | None = None

    @property
    def states(self) -> Mapping[str, ReadyState]:
        """By queue; those without ready jobs and pauses are left out."""
        if self._states is None:
            self._states = reads.ready_states(self._config)
        return self._states


def get_queue_depths(
    *, exclude_scheduled: bool = False, backend_alias: str = "default"
) -> dict[str, int]:
    """How many jobs wait in each queue of a backend, in order of names; empty queues are left out.

    Ready jobs, those that wait for a slot and, unless *exclude_scheduled*, for their time.
    """
    return reads.waiting_counts(backend_config(backend_alias), exclude_scheduled=exclude_scheduled)
