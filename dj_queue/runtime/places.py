"""Places of a worker that are kept for jobs on their way from an enqueue in the same process."""

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from dj_queue import events
from dj_queue.ids import new_token
from dj_queue.states import Executor
from dj_queue.store.records import ClaimedJob

if TYPE_CHECKING:
    from dj_queue.runtime.worker import Worker


class Places:
    """The places that are kept now, by the token of the claim that is being written."""

    def __init__(self) -> None:
        # Guards _kept, and the look whether there is room for one more.
        self._changed = threading.Condition()
        self._kept: dict[int, Executor] = {}

    def reserve(self, worker: "Worker", process_id: int, executor: Executor) -> "Place | None":
        """Keep a place if *worker* has one."""
        with self._changed:
            if not worker.has_place(executor):
                return None
            place = Place(self, worker, process_id)
            self._kept[place.token] = executor
            return place

    def taken(self, executor: Executor) -> int:
        """How many places are kept for *executor*."""
        return sum(each is executor for each in tuple(self._kept.values()))

    def holds(self, token: int) -> bool:
        """Whether a claim with *token* is being written, and its job will come."""
        return token in self._kept

    def free(self, token: int) -> None:
        """The job came, or will not."""
        with self._changed:
            self._kept.pop(token, None)
            self._changed.notify_all()

    def wait_until_empty(self, deadline: float) -> None:
        """Wait for the jobs that are on their way, but not beyond *deadline* (monotonic)."""
        with self._changed:
            while self._kept and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)


class Place:
    """One kept place; see `dj_queue.operations.direct.Place`."""

    def __init__(self, places: Places, worker: "Worker", process_id: int) -> None:
        self.process_id = process_id
        self.token = new_token()
        self._places = places
        self._worker = worker
        self._asked_at = time.monotonic()

    def take(self, job: ClaimedJob) -> None:
        """Hand *job* to the worker."""
        worker = self._worker
        events.emit(events.JobsClaimed(worker.backend_alias, worker.process_name, (job,), None))
        try:
            self._worker.take(job, self._asked_at)
        except Exception as error:  # noqa: BLE001 - the job is written, whoever enqueued must hear so
            events.emit(
                events.ActorFailed(
                    self._worker.backend_alias, self._worker.name, error, 1, timedelta(0)
                )
            )
        finally:
            self._places.free(self.token)

    def give_up(self, *, in_doubt: bool = False) -> None:
        """Free the place; whether a claim was written nevertheless is for the worker to find out."""
        self._places.free(self.token)
        if in_doubt:
            self._worker.doubt_claims()
