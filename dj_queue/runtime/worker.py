"""The worker: claims jobs, hands them to threads or children and to the event loop, writes how they ended.

One thread does all of the bookkeeping on one connection. What has ended and what can start travel in the
same transaction, so under load each round trip carries a batch in both directions, and at rest there is
none. The thread that runs a job never waits for the database on the queue's behalf.

Of every claimed job exactly one thing becomes true: its outcome is written, it is given back not begun,
or (its claim was taken away) nothing. `_owned` holds the jobs of which none is true yet.
"""

import sys
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import Error

from dj_queue import events
from dj_queue.config import BackendConfig, WorkerConfig
from dj_queue.exceptions import ProcessExitError, exception_path
from dj_queue.operations import limits
from dj_queue.runtime.child_pool import ChildPool
from dj_queue.runtime.clock import DatabaseClock
from dj_queue.runtime.deafness import DeafMark
from dj_queue.runtime.demand import Demand
from dj_queue.runtime.draining import DrainingMark, begin_of_last_words
from dj_queue.runtime.eventloop import EventLoop
from dj_queue.runtime.executor import TaskRunner, import_for, runs_on_loop
from dj_queue.runtime.finisher import NOTHING, Finisher
from dj_queue.runtime.loop import Actor
from dj_queue.runtime.losses import try_again
from dj_queue.runtime.places import Place, Places
from dj_queue.runtime.polling import Polling
from dj_queue.runtime.pool import ThreadPool
from dj_queue.runtime.registration import Registration
from dj_queue.runtime.sizing import HOARD_SECONDS
from dj_queue.states import LANES, Executor
from dj_queue.store import Session, Topic, store_for
from dj_queue.store.records import ClaimedJob, Claimer, Exchange, JobError, Outcome, Room


class Worker(Actor):
    """One entry of `workers`."""

    def __init__(
        self, config: BackendConfig, worker: WorkerConfig, registration: Registration, name: str
    ) -> None:
        super().__init__(config.alias, f"dj_queue-{config.alias}-{name}")
        self.config = config
        self.worker = worker
        self.process_name = registration.name(name)
        self._registration = registration
        self._polling = Polling(worker.polling_interval)
        self._clock = DatabaseClock()
        self._owned: dict[UUID, ClaimedJob] = {}
        self._may_hold_unknown = False
        self._lanes = LANES[worker.executor]
        self._is_quiet = False
        self._is_closed = False
        self.max_jobs = sys.maxsize
        """The most jobs to take; lowered where the process is replaced after so many."""
        self.ended = 0
        """How many jobs ended here and have their outcome written."""
        self._deaf_mark = DeafMark(registration, self.process_name)
        self._mark = DrainingMark(config, self._clock, registration, self.process_name)
        self._finisher = Finisher()
        self._places = Places()
        runner = TaskRunner(
            config,
            self.process_name,
            self._clock,
            noting=registration.noting,
            importing=registration.importing,
            is_stopping=lambda: self._is_quiet or self.is_stopping,
        )
        self._pool = self._make_pool(runner)
        self._loop = EventLoop(
            self.name,
            worker.async_concurrency,
            run=runner.arun,
            ended=self._finisher.add,
            freed=self.wake.set,
        )
        self._demand = Demand(self._lanes, self._pool, self._loop, self._places, worker)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the worker's row tells about it."""
        told = ("executor", "threads", "async_concurrency", "polling_interval")
        return {"queues": str(self.worker.queues)} | {
            each: getattr(self.worker, each) for each in told
        }

    def serves(self, queues: Sequence[str]) -> bool:
        """Whether any of *queues* is this worker's."""
        return any(self.worker.queues.matches(name) for name in queues)

    def reserve(self, queue_name: str, executor: Executor) -> Place | None:
        """A place for a job that is being enqueued in this process, unless others may be before it."""
        process_id = self._registration.id_of(self.process_name)
        if process_id is None or not self.worker.queues.matches(queue_name):
            return None
        if self.worker.executor == "process":
            # A commit saved is nothing to what a child takes to start, and others may have a free thread.
            return None
        for lane in self._lanes:
            if executor in lane:
                return self._places.reserve(self, process_id, lane[0])
        return None

    def has_place(self, executor: Executor) -> bool:
        """Whether a job that comes now can start at once, and nothing that is known waits before it."""
        if (
            self.is_stopping
            or self._is_quiet
            or self.should_look
            or self._demand.may_have_more(executor)
            or self.max_jobs <= self.ended + self.held
        ):
            return False
        lane = self._pool if executor is Executor.THREAD else self._loop
        return lane.free > self._places.taken(executor)

    def take(self, job: ClaimedJob, asked_at: float) -> None:
        """Run a job that was enqueued straight to this worker. From any thread."""
        self._owned[job.id] = job
        lane = self._loop if self._is_for_loop(job) else self._pool
        late = [job]
        if not self._is_closed:
            lane.add([job], asked_at)
            if not self._is_closed:
                return
            late = lane.jobs.take_back()
        # Too late to run, and the worker has given back what waited: nobody else will give these back.
        if late:
            with self.open_session() as session:
                session.release([each.claim for each in late])

    def doubt_claims(self) -> None:
        """Have the claims in this worker's name compared with those it knows. From any thread."""
        self._may_hold_unknown = True
        self.call()

    def failed(self) -> None:
        self._may_hold_unknown = True

    def open_session(self) -> Session:
        options = self.config.options
        return store_for(options.database_alias).open_session(
            self.config.alias,
            listen=(Topic.READY,) if options.listen_notify else (),
            selection=self.worker.queues,
        )

    def tick(self, session: Session) -> float:
        claimer = self._claimer()
        if claimer is None:
            return self.worker.polling_interval
        self._pool.start()
        if self._is_quiet:
            self._pool.tell_stopping()
        self._deaf_mark.write(session, self.metadata)
        self._give_back_unknown(session, claimer)
        self._give_back_waiting(session)
        if self.should_look or self._finisher.has_slots:
            # Taken down before the look, and remembered for the kinds that have no room yet.
            self.should_look = self._finisher.has_slots = False
            self._demand.called()
        room = self._room()
        if not room and not len(self._finisher):
            if self._is_quiet:
                self._mark.write(session, self.metadata, self.running)
            return self._idle_seconds(session)
        if self._exchange(session, claimer, room):
            self._polling.found_work()
        if len(self._finisher) or self._room():
            return 0.0
        return self._idle_seconds(session)

    def quiesce(self) -> None:
        """Claim nothing more, and give back what has not begun. From any thread."""
        self._is_quiet = True
        self.wake.set()

    def wind_down(self, session: Session, deadline: float) -> None:
        self._pool.stop()
        self._loop.stop()
        claimer = self._claimer()
        if claimer is None:
            return
        # Jobs on their way here come in before the rest goes back.
        last_words = begin_of_last_words(deadline, self.running)
        self._places.wait_until_empty(last_words)
        self._is_closed = True
        waiting = [*self._pool.jobs.take_back(), *self._loop.jobs.take_back()]
        try:
            try:
                self._give_back(session, waiting, "stop")
            except Error as error:
                # Draining compares claims with known jobs, and so gives these back on a new connection.
                self._may_hold_unknown = True
                events.emit(events.OutcomesDelayed(self.config.alias, len(waiting), error))
            self._drain(session, claimer, last_words)
            self._record_abandoned(session, claimer)
        finally:
            self._loop.join(deadline)
            self._pool.close(deadline)

    @property
    def running(self) -> int:
        """How many jobs run now."""
        return self._pool.busy + self._loop.busy

    @property
    def held(self) -> int:
        """How many jobs are claimed here, or on their way, and have no outcome written."""
        return len(self._owned) + sum(self._places.taken(executor) for executor in Executor)

    def _make_pool(self, runner: TaskRunner) -> ThreadPool:
        ended, freed = self._finisher.add, self.wake.set
        if self.worker.executor == "thread":
            return ThreadPool(
                self.name, self.worker.threads, run=runner.run, ended=ended, freed=freed
            )
        return ChildPool(
            self.name,
            self.config,
            self.worker,
            self.process_name,
            self._clock,
            registration=self._registration,
            ended=ended,
            lost=self._is_tried_again,
            freed=freed,
        )

    def _claimer(self) -> Claimer | None:
        process_id = self._registration.id_of(self.process_name)
        if process_id is None:
            return None
        return Claimer(
            backend_alias=self.config.alias,
            selection=self.worker.queues,
            process_id=process_id,
            worker_name=self.process_name,
            preserve_finished_jobs=self.config.options.preserve_finished_jobs,
            use_skip_locked=self.config.options.use_skip_locked,
            lanes=self._lanes,
        )

    def _room(self) -> Room:
        """How many jobs to ask for now, of those kinds for which there is a reason to ask."""
        if self._is_quiet:
            return NOTHING
        return self._demand.room(max(0, self.max_jobs - self.ended - self.held))

    def _exchange(self, session: Session, claimer: Claimer, room: Room) -> bool:
        asked_at = time.monotonic()
        try:
            outcomes, answer = self._finisher.exchange(session, claimer, room)
        except Error as error:
            if waiting := len(self._finisher):
                events.emit(events.OutcomesDelayed(self.config.alias, waiting, error))
            raise
        self._clock.set(answer.now)
        # Before they leave _owned: in between they may count twice, but never not at all.
        self.ended += len(outcomes)
        for outcome in outcomes:
            self._owned.pop(outcome.job.id, None)
        self._registration.settle(outcomes)
        self._demand.ended(outcomes)
        self._hand_over(answer, asked_at)
        self._demand.answered(room, answer.claimed)
        limits.tell(self.config.options.database_alias, answer.settled, claimed=answer.claimed)
        return bool(answer.claimed)

    def _hand_over(self, answer: Exchange, asked_at: float) -> None:
        for_loop: list[ClaimedJob] = []
        for_pool: list[ClaimedJob] = []
        self._owned.update({job.id: job for job in answer.claimed})
        if self._lanes.loop:
            import_for(answer.claimed, self._registration.importing)
        for job in answer.claimed:
            (for_loop if self._is_for_loop(job) else for_pool).append(job)
        if for_pool:
            self._pool.add(for_pool, asked_at)
        if for_loop:
            self._loop.add(for_loop, asked_at)

    def _is_for_loop(self, job: ClaimedJob) -> bool:
        return bool(self._lanes.loop) and runs_on_loop(job.task_path)

    def _is_tried_again(self, lost: Outcome) -> bool:
        """Requeue a job whose child died, if it may be. In a thread of the pool."""
        if not try_again(self.config, self.process_name, lost, self._registration.importing):
            return False
        self._owned.pop(lost.job.id, None)
        self._registration.settle([lost])
        return True

    def _give_back_waiting(self, session: Session) -> None:
        """Return jobs that wait behind a long one: somebody else may have a free thread."""
        late = [*self._pool.jobs.take_expired(), *self._loop.jobs.take_expired()]
        if self._is_quiet or self._pool.jobs.oldest_wait() > HOARD_SECONDS:
            self._demand.hoarded()
            late += self._pool.jobs.take_back()
        if self._is_quiet or self._loop.jobs.oldest_wait() > HOARD_SECONDS:
            late += self._loop.jobs.take_back()
        self._give_back(session, late, "waited too long")

    def _give_back(self, session: Session, jobs: Sequence[ClaimedJob], reason: str) -> None:
        if not jobs:
            return
        try:
            session.release([job.claim for job in jobs])
        finally:
            # They will not begin here, whatever the database knows of it by now. A place in the journal may
            # be kept for one whose child died before it began.
            now = self._clock.now()
            for job in jobs:
                self._owned.pop(job.id, None)
            self._registration.settle(Outcome(job, now, now) for job in jobs)
        events.emit(events.JobsReleased(self.config.alias, len(jobs), reason))
        queues = tuple({job.queue_name for job in jobs})
        database = self.config.options.database_alias
        events.emit(events.JobsReady(database, self.config.alias, queues))

    def _give_back_unknown(self, session: Session, claimer: Claimer) -> None:
        """After a lost answer: return the claims that the database has and we do not know of."""
        if not self._may_hold_unknown:
            return
        # Before the question: a doubt that comes up while it is answered needs another.
        self._may_hold_unknown = False
        try:
            unknown = [
                claim
                for claim in session.claims_of(claimer.process_id)
                if not self._places.holds(claim.token) and claim.id not in self._owned
            ]
            if unknown:
                session.release(unknown)
        except BaseException:
            self._may_hold_unknown = True
            raise
        if unknown:
            self.should_look = True
            events.emit(events.JobsReleased(self.config.alias, len(unknown), "lost answer"))

    def _idle_seconds(self, session: Session) -> float:
        seconds = self._polling.seconds(is_woken=session.is_woken_by_database)
        if len(self._pool.jobs) or len(self._loop.jobs):
            return min(seconds, HOARD_SECONDS)
        return seconds

    def _drain(self, session: Session, claimer: Claimer, deadline: float) -> None:
        """Write outcomes as jobs end, until none runs or it is time."""
        while True:
            self.wake.clear()
            is_idle = self.running == 0
            try:
                self._give_back_unknown(session, claimer)
                for each in (self._pool.jobs, self._loop.jobs):
                    self._give_back(session, each.take_expired(), "stop")
                if len(self._finisher):
                    self._finisher.exchange(session, claimer, NOTHING)
                    continue
                if not is_idle:
                    self._mark.write(session, self.metadata, self.running)
            except Error as error:
                events.emit(events.OutcomesDelayed(self.config.alias, len(self._finisher), error))
                is_idle = False
            # Who stops a second time may have less patience.
            until = min(deadline, begin_of_last_words(self.deadline, self.running))
            left = until - time.monotonic()
            if is_idle or left <= 0:
                return
            self.wake.wait(min(left, 0.1))

    def _record_abandoned(self, session: Session, claimer: Claimer) -> None:
        """Fail the jobs that still run: nobody will hear of them any more."""
        abandoned = [*self._pool.abandon(), *self._loop.running()]
        # Those for which a child was being started.
        self._give_back(session, self._pool.jobs.take_expired(), "stop")
        # Jobs that ended just now have an outcome of their own.
        ended = self._finisher.job_ids()
        abandoned = [job for job in abandoned if job.id not in ended]
        if not abandoned and not len(self._finisher):
            return
        now = self._clock.now()
        error = JobError(
            exception_path(ProcessExitError),
            f"The worker {self.process_name} stopped while the job ran, and the job did not end within "
            f"the {self.config.options.shutdown_timeout:g} s of OPTIONS['shutdown_timeout'].",
            "",
        )
        for job in abandoned:
            self._finisher.add(Outcome(job, now, now, error=error))
        while len(self._finisher):
            self._finisher.exchange(session, claimer, NOTHING)
