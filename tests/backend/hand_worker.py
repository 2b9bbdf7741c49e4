"""A worker that a test moves by hand."""

from typing import Any, Self

from dj_queue import payload
from dj_queue.runtime.clock import DatabaseClock
from dj_queue.selectors import EVERYTHING
from dj_queue.store import store_for
from dj_queue.store.records import (
    ClaimedJob,
    Claimer,
    JobError,
    Outcome,
    ProcessRecord,
    Room,
)

NOTHING = Room(0, 0)


class HandWorker:
    """Claims jobs and writes their outcomes through a real session; runs nothing by itself."""

    def __init__(
        self,
        *,
        name: str = "worker-1",
        backend: str = "default",
        database: str = "default",
        **options: Any,
    ) -> None:
        self.name = name
        self.clock = DatabaseClock()
        self._session = store_for(database).open_session(backend)
        self.process_id = self._session.register([ProcessRecord(name, "Worker", 1, "host")])[name]
        self._claimer = Claimer(backend, EVERYTHING, self.process_id, name, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def claim(self, count: int = 1) -> list[ClaimedJob]:
        """Claim up to *count* jobs of each kind."""
        answer = self._session.exchange(self._claimer, [], Room(count, count))
        self.clock.set(answer.now)
        return list(answer.claimed)

    def claim_one(self) -> ClaimedJob:
        """Claim the one job there is."""
        (job,) = self.claim()
        return job

    def write(self, *outcomes: Outcome) -> None:
        """Record outcomes, each of which must be of a job that is still ours."""
        answer = self._session.exchange(self._claimer, outcomes, NOTHING)
        assert list(answer.rejected) == []

    def succeed(self, job: ClaimedJob, value: Any = None) -> Outcome:
        """Record that *job* returned *value*."""
        started_at = self.clock.now()
        text = None if value is None else payload.dump(value)
        outcome = Outcome(job, started_at, self.clock.now(), result=text)
        self.write(outcome)
        return outcome

    def fail(self, job: ClaimedJob, message: str = "no") -> Outcome:
        """Record that *job* raised a `ValueError` with *message*."""
        error = JobError("builtins.ValueError", message, f"Traceback ...\nValueError: {message}\n")
        started_at = self.clock.now()
        outcome = Outcome(job, started_at, self.clock.now(), error=error)
        self.write(outcome)
        return outcome
