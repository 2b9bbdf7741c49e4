"""Outcomes on their way to the database: collected while a write is under way, kept until one succeeds."""

import json
import time
from collections import deque
from collections.abc import Sequence
from uuid import UUID

from django.db import Error, IntegrityError
from django.db.utils import DataError

from dj_queue import events
from dj_queue.exceptions import exception_path
from dj_queue.runtime.failures import job_failed
from dj_queue.store import Session
from dj_queue.store.records import Claimer, Exchange, JobError, Outcome, Room

MAX_PER_WRITE = 1000

NOTHING = Room(0, 0)


class Finisher:
    """Group commit of outcomes: nothing waits for company, and what comes meanwhile goes together.

    `add` is called by any thread, the rest by the worker's. An outcome leaves only when the database
    has taken it or has said that the job is not ours any more.
    """

    def __init__(self) -> None:
        self._ended: deque[Outcome] = deque()
        self.has_slots = False
        """Whether there may be outcomes that give a slot back, and so make another job ready."""
        self._unwritten: list[Outcome] = []
        self._may_be_written = False

    def __len__(self) -> int:
        return len(self._ended) + len(self._unwritten)

    def job_ids(self) -> set[UUID]:
        """The jobs whose outcomes wait here."""
        return {outcome.job.id for outcome in (*tuple(self._ended), *self._unwritten)}

    def add(self, outcome: Outcome) -> None:
        """Take an outcome over."""
        self._ended.append(outcome)
        if outcome.job.limit is not None:
            self.has_slots = True

    def exchange(
        self, session: Session, claimer: Claimer, room: Room
    ) -> tuple[Sequence[Outcome], Exchange]:
        """Write what there is and claim for *room*; the outcomes that are settled now, and the answer.

        Raises `django.db.Error` when the database does not take it; nothing is lost by that.
        """
        outcomes = tuple(self._collect())
        began = time.monotonic()
        try:
            answer = session.exchange(claimer, outcomes, room)
        except (DataError, IntegrityError):
            if not outcomes:
                raise
            # One of them cannot be stored. Alone, the others can.
            rejected = self._write_one_by_one(session, claimer)
            answer = session.exchange(claimer, (), room)
            answer = answer._replace(rejected=[*rejected, *answer.rejected])
        except Error:
            # The answer may be lost, and not the write: then a second try finds the claims gone.
            self._may_be_written = True
            raise
        self._unwritten = []
        self._report(claimer, outcomes, answer)
        self._may_be_written = False
        if answer.claimed:
            seconds = time.monotonic() - began
            events.emit(
                events.JobsClaimed(
                    claimer.backend_alias, claimer.worker_name, answer.claimed, seconds
                )
            )
        return outcomes, answer

    def _collect(self) -> list[Outcome]:
        together = {outcome.job.id.int for outcome in self._unwritten}
        while self._ended and len(together) < MAX_PER_WRITE:
            job = self._ended[0].job.id.int
            if job in together:
                # Taken away from this process and claimed by it again, it ended twice; one of both counts.
                break
            together.add(job)
            self._unwritten.append(self._ended.popleft())
        return self._unwritten

    def _write_one_by_one(self, session: Session, claimer: Claimer) -> list[UUID]:
        rejected: list[UUID] = []
        for outcome in tuple(self._unwritten):
            rejected += self._write_alone(session, claimer, outcome)
            self._unwritten.remove(outcome)
        return rejected

    def _write_alone(self, session: Session, claimer: Claimer, outcome: Outcome) -> Sequence[UUID]:
        try:
            return session.exchange(claimer, [outcome], NOTHING).rejected
        except (DataError, IntegrityError) as error:
            refused = _unstorable(outcome, error)
        try:
            return session.exchange(claimer, [refused], NOTHING).rejected
        except (DataError, IntegrityError):
            # Nothing can be said about this job; it must not keep the others from being written. Its
            # claim is found when this process has ended.
            return [outcome.job.id]

    def _report(self, claimer: Claimer, outcomes: Sequence[Outcome], answer: Exchange) -> None:
        rejected = set(answer.rejected)
        if outcomes:
            recorded = [each for each in outcomes if each.job.id not in rejected]
            events.emit(events.AttemptsRecorded(claimer.backend_alias, recorded))
        for outcome in outcomes:
            if outcome.job.id in rejected:
                if not self._may_be_written:
                    events.emit(events.OutcomeRejected(claimer.backend_alias, outcome.job.id))
            elif outcome.error is not None:
                events.emit(job_failed(claimer.backend_alias, outcome, outcome.error))


def _unstorable(outcome: Outcome, error: Error) -> Outcome:
    """A failure that any database takes, in place of an outcome that this one refused."""
    message = json.dumps(f"The outcome of this job could not be stored: {error}"[:2000])
    described = JobError(exception_path(error), message, "")
    job = outcome.job
    job.errors = None
    return Outcome(job, outcome.started_at, outcome.finished_at, error=described)
