"""A script that claims jobs: registered with signs of life and a journal, like any process that runs jobs.

One registration per backend, made by its first claim and taken back at the end of the process. See
`dj_queue.operations.claiming` for what users call.
"""

import atexit
import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import groupby
from uuid import UUID

from django.db import connections
from django.db.transaction import TransactionManagementError

from dj_queue import events
from dj_queue.config import BackendConfig
from dj_queue.exceptions import NotClaimed, NotStarted, ProcessExitError, ProcessMissingError
from dj_queue.models import ClaimedExecution, Job, Process
from dj_queue.operations.claiming import ClaimedJob
from dj_queue.reads.lost import LostClaim, claims_of, claims_of_nobody
from dj_queue.runtime.attempt import Attempt
from dj_queue.runtime.clock import DatabaseClock
from dj_queue.runtime.executor import TaskRunner
from dj_queue.runtime.failures import job_failed
from dj_queue.runtime.recovery import Recovery
from dj_queue.runtime.registration import Registrar, Registration
from dj_queue.selectors import EVERYTHING, QueueSelection
from dj_queue.states import Executor, Lanes
from dj_queue.store import Session, store_for
from dj_queue.store.records import ClaimedJob as HeldJob
from dj_queue.store.records import Claimer, Outcome, Room
from dj_queue.store.shared import django_time

# A script runs whatever comes, in the thread that calls.
_EVERY_LANE = Lanes(tuple(Executor), ())
_NOTHING = Room(0, 0)
_REGISTER_SECONDS = 15.0
_SIGN_OFF_SECONDS = 3.0
# Jobs that one script runs at once.
_CAPACITY = 1000
_CLAIMS_PER_STEP = 1000


class ClaimDoesNotExist(NotClaimed, ClaimedExecution.DoesNotExist):
    """`NotClaimed`, for code that expects the error of the model."""


class RegisteredScript:
    """This process as a script on one backend. From any thread, one at a time where it uses its session."""

    def __init__(self, config: BackendConfig) -> None:
        self._config = config
        self._database = config.options.database_alias
        self._registration = registration = Registration()
        self._clock = DatabaseClock()
        self._name = registration.name("script-1")
        self._held: dict[UUID, tuple[HeldJob, Claimer]] = {}
        # Guards _session: a session is not for two threads at once.
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._registrar = Registrar(
            config,
            registration,
            actors=[("script", "Script", {}), ("script-1", "Script", {})],
            capacity=_CAPACITY,
            connections=2,
            registered=_nothing,
            each_second=_nothing,
            is_well=lambda _: True,
        )
        self._registrar.start()

    def claim(
        self, selection: QueueSelection, limit: int, process: Process | None, *, skips_locked: bool
    ) -> list[ClaimedJob]:
        """See `dj_queue.operations.claiming.claim_ready_jobs`."""
        self._refuse_transaction()
        claimer = self._claimer(selection, process, skips_locked=skips_locked)
        with self._lock:
            answer = self._opened().exchange(claimer, (), Room(limit, 0))
        self._clock.set(answer.now)
        for held in answer.claimed:
            self._held[held.id] = (held, claimer)
        jobs = Job.objects.using(self._database).in_bulk([held.id for held in answer.claimed])
        return [
            ClaimedJob(
                jobs[held.id],
                answer.now,
                [*(held.worker_ids or ()), claimer.worker_name],
                claimer.process_id,
                held.claim,
            )
            for held in answer.claimed
            if held.id in jobs
        ]

    def execute(self, job_id: UUID) -> Job:
        """See `dj_queue.operations.claiming.execute_claimed_job`."""
        self._refuse_transaction()
        return self._end(job_id, lambda runner, held: runner.run(held))

    def complete(self, job_id: UUID, return_value: object) -> Job:
        """See `dj_queue.operations.claiming.complete_claimed_job`."""
        self._refuse_transaction()
        return self._end(job_id, lambda runner, held: Attempt(runner, held).succeed(return_value))

    def fail(self, job_id: UUID, error: BaseException, traceback_text: str) -> Job:
        """See `dj_queue.operations.claiming.fail_claimed_job`."""
        self._refuse_transaction()

        def failed(runner: TaskRunner, held: HeldJob) -> Outcome:
            return _failed(runner, held, error, traceback_text)

        return self._end(job_id, failed)

    def fail_all_of(self, process_ids: Sequence[int], error: BaseException | None) -> list[Job]:
        """See `dj_queue.operations.claiming.fail_claimed_jobs_for_process`."""
        database, alias = self._database, self._config.alias
        return self._fail_lost(
            lambda: claims_of(database, alias, process_ids, limit=_CLAIMS_PER_STEP),
            error or ProcessExitError(),
        )

    def fail_orphans(self, older_than: timedelta) -> list[Job]:
        """See `dj_queue.operations.claiming.fail_orphaned_claimed_jobs`."""
        database, alias = self._database, self._config.alias
        with self._lock:
            before = self._opened().now() - older_than
        return self._fail_lost(
            lambda: claims_of_nobody(database, alias, made_before=before, limit=_CLAIMS_PER_STEP),
            ProcessMissingError(),
        )

    def prune(self) -> list[str]:
        """See `dj_queue.operations.claiming.prune_stale_processes`."""
        self._refuse_transaction()
        recovery = Recovery(self._config)
        recovery.look_at_journals()
        with self._lock:
            session = self._opened()
            return recovery.recover_silent(session, session.now())

    def _fail_lost(self, look: Callable[[], list[LostClaim]], error: BaseException) -> list[Job]:
        """Fail all that *look* finds, again and again until it finds nothing more."""
        self._refuse_transaction()
        failed: list[UUID] = []
        while claims := look():
            recorded: list[UUID] = []
            by_worker = sorted(claims, key=lambda claim: claim.process_name)
            for worker, theirs in groupby(by_worker, key=lambda claim: claim.process_name):
                claimer = Claimer(self._config.alias, EVERYTHING, 0, worker)
                runner = TaskRunner(self._config, worker, self._clock)
                recorded += self._write(
                    claimer, [_failed(runner, claim.job, error, "") for claim in theirs]
                )
            failed += recorded
            if not recorded:
                break
        return list(Job.objects.using(self._database).in_bulk(failed).values())

    def stop(self) -> None:
        """Give back what has not begun, and take the rows away."""
        deadline = time.monotonic() + _SIGN_OFF_SECONDS
        self._registrar.stop(deadline)
        self._registrar.join(deadline)
        with self._lock:
            if self._session is not None:
                self._session.close()

    def _end(self, job_id: UUID, attempt: Callable[[TaskRunner, HeldJob], Outcome]) -> Job:
        """Make *attempt* of a job that is ours, and record it."""
        if job_id not in self._held:
            raise ClaimDoesNotExist(
                f"job {job_id} is not claimed by this process; see claim_ready_jobs()"
            )
        held, claimer = self._held[job_id]
        runner = TaskRunner(
            self._config,
            claimer.worker_name,
            self._clock,
            noting=self._registration.noting,
            importing=self._registration.importing,
        )
        outcome = attempt(runner, held)
        recorded = self._write(claimer, [outcome])
        del self._held[job_id]
        if not recorded:
            raise ClaimDoesNotExist(
                f"job {job_id} was taken away from this process while it held it (somebody took the "
                "process for lost); nothing was recorded about it here"
            )
        # Not there with preserve_finished_jobs off: then as it was, with what came of it.
        found = Job.objects.using(self._database).filter(pk=job_id).first()
        return found or Job(id=job_id, finished_at=django_time(outcome.finished_at))

    def _write(self, claimer: Claimer, outcomes: Sequence[Outcome]) -> list[UUID]:
        """Record *outcomes*; the jobs that they were recorded for."""
        with self._lock:
            answer = self._opened().exchange(claimer, outcomes, _NOTHING)
        self._registration.settle(outcomes)
        rejected = set(answer.rejected)
        recorded = [outcome for outcome in outcomes if outcome.job.id not in rejected]
        for outcome in recorded:
            if outcome.error is not None:
                events.emit(job_failed(self._config.alias, outcome, outcome.error))
        return [outcome.job.id for outcome in recorded]

    def _claimer(
        self, selection: QueueSelection, process: Process | None, *, skips_locked: bool
    ) -> Claimer:
        if process is None:
            if not self._registration.wait(_REGISTER_SECONDS):
                raise NotStarted(
                    f"this script could not be registered within {_REGISTER_SECONDS:g} s to claim jobs "
                    f"of backend {self._config.alias!r}; the log says why"
                )
            process_id, name = self._registration.id_of(self._name), self._name
        else:
            process_id, name = process.pk, process.name
        return Claimer(
            self._config.alias,
            selection,
            process_id or 0,
            name,
            preserve_finished_jobs=self._config.options.preserve_finished_jobs,
            use_skip_locked=skips_locked,
            lanes=_EVERY_LANE,
        )

    def _opened(self) -> Session:
        if self._session is None:
            self._session = store_for(self._database).open_session(self._config.alias)
        return self._session

    def _refuse_transaction(self) -> None:
        if connections[self._database].in_atomic_block:
            raise TransactionManagementError(
                "jobs cannot be claimed or ended inside a transaction: claims commit at once, on a "
                "connection of their own, and a transaction that wrote would make them wait for ever"
            )


def script_of(config: BackendConfig) -> RegisteredScript:
    """The registration of this process for *config*'s backend, made when it is first asked for."""
    key = (config.alias, os.getpid())
    with _lock:
        if key not in _scripts:
            if not _scripts:
                atexit.register(stop_scripts)
            _scripts[key] = RegisteredScript(config)
        return _scripts[key]


def stop_scripts() -> None:
    """Give back what scripts of this process have claimed and not begun, and forget them."""
    with _lock:
        ours = [script for (_, pid), script in _scripts.items() if pid == os.getpid()]
        _scripts.clear()
    for script in ours:
        script.stop()


# Guards _scripts. By backend and process: in a forked child the registration is the parent's.
_lock = threading.Lock()
_scripts: dict[tuple[str, int], RegisteredScript] = {}


def _renew_after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)


def _failed(
    runner: TaskRunner, held: HeldJob, error: BaseException, traceback_text: str
) -> Outcome:
    outcome = Attempt(runner, held).fail(error)
    if traceback_text and outcome.error is not None:
        outcome.error = outcome.error._replace(traceback=traceback_text)
    return outcome


def _nothing() -> None:
    """Nobody wants to know."""
