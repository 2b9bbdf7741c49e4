"""Brings back what lost processes had claimed.

A process counts as lost when its journal is locked by nobody (it is dead for certain; looked at every
second, without the database), when no sign of its life was seen for `process_alive_threshold` by the
database's clock, or when its claims belong to nobody who is registered. What it had not begun is ready
again at once, untouched. What it had begun fails, or is tried again where `on_worker_lost` says so. The
journal tells the two apart; without one, whatever was claimed counts as begun. A job whose module was
being imported fails, and nobody imports it to ask what the task says.

Every step is a transaction of its own that claims' tokens guard. Two that recover the same process, or
one that dies half-way, do no harm: the rows of the process go last, so somebody comes back for the rest.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import batched, groupby
from pathlib import Path

from django.db import connections

from dj_queue import events
from dj_queue.config import BackendConfig
from dj_queue.exceptions import (
    DjQueueError,
    ProcessExitError,
    ProcessMissingError,
    ProcessPrunedError,
    exception_path,
)
from dj_queue.operations import limits
from dj_queue.operations.recover import adopt, requeue
from dj_queue.reads import lost
from dj_queue.reads.lost import LostClaim
from dj_queue.runtime import journal
from dj_queue.runtime.connections import discard
from dj_queue.runtime.failures import job_failed
from dj_queue.runtime.journal import UNKNOWN, Journal, Notes, Orphan, Owner, database_identity
from dj_queue.runtime.losses import is_tried_again
from dj_queue.selectors import EVERYTHING
from dj_queue.store import Session
from dj_queue.store.records import Claim, ClaimedJob, Claimer, JobError, Outcome, Room

_NOTHING = Room(0, 0)
_CLAIMS_PER_STEP = 1000
_NEVER = datetime.min.replace(tzinfo=UTC)
# How much later than due a look may be without meaning that this process was cut off.
_LATE = timedelta(seconds=2)
# How long others get to show life after this process came, or came back; longer than any back-off.
_GRACE = timedelta(seconds=30)


class Recovery:
    """Recovers other processes of one backend, and this one at its end. Belongs to one thread."""

    def __init__(self, config: BackendConfig) -> None:
        self._config = config
        self._database = config.options.database_alias
        self._directory: Path | None = None
        self._nobody_before = _NEVER
        self._recovered: list[tuple[float, str, list[int], Notes]] = []
        # When `prune` looked last, and since when it does without a gap; by the database's clock.
        self._looked_at = self._here_since = _NEVER
        self._foreign: set[Path] = set()
        self._own: Journal | None = None

    def open_journal(self, process_name: str, *, capacity: int) -> Journal | None:
        """The journal of this process; None, and an event, where there can be none."""
        owner = Owner(database_identity(self._database), self._config.alias, process_name)
        try:
            directory = journal.journal_directory(self._config.options.journal_directory)
            opened = Journal.open(directory, owner, capacity=capacity)
        except OSError as error:
            events.emit(events.JournalUnavailable(self._config.alias, error))
            return None
        self._directory, self._own = directory, opened
        return opened

    def look_at_journals(self) -> None:
        """Read the journals of this machine, without one of our own, where there are any."""
        with suppress(OSError):
            self._directory = journal.journal_directory(self._config.options.journal_directory)

    def recover_the_dead(self, session: Session) -> None:
        """Recover the processes of this machine that died; no statement while there are none."""
        if self._directory is None:
            return
        failure: Exception | None = None
        for path in journal.paths(self._directory):
            # A name is never used twice, so what belongs to others is looked at once.
            if path in self._foreign:
                continue
            with journal.orphaned(path) as orphan:
                if orphan is None:
                    continue
                if not self._concerns(orphan.owner):
                    self._foreign.add(path)
                    continue
                try:
                    self._recover_dead(session, orphan)
                except Exception as error:  # noqa: BLE001 - raised below: the others must not wait for it
                    failure = error
                else:
                    orphan.remove()
        if failure is not None:
            raise failure

    def _recover_dead(self, session: Session, orphan: Orphan) -> None:
        name = orphan.owner.process_name
        with self._reading():
            ids = lost.process_ids(self._database, self._config.alias, name)
        self._recovered.append((time.monotonic(), name, ids, orphan.notes))
        self._recover(session, name, ids, orphan.notes, _ended(name))

    def prune(self, session: Session) -> None:
        """Recover processes that gave no sign of life for too long, and claims of nobody."""
        options = self._config.options
        threshold = timedelta(seconds=options.process_alive_threshold)
        now = session.now()
        if now - self._looked_at > timedelta(seconds=options.process_heartbeat_interval) + _LATE:
            # We have just started, the database was away, or this machine slept. Others may have been
            # cut off just as long, and come back in a moment.
            self._here_since = now
        self._looked_at = now
        if now - self._here_since < min(_GRACE, threshold / 2):
            return
        self.recover_silent(session, now)
        self._recover_latecomers(session, threshold.total_seconds())
        # Not of late: a process whose rows were deleted registers again and takes its claims back.
        self._nobody_before = now - threshold
        self._recover(
            session, "", [], UNKNOWN,
            _Loss(ProcessMissingError, "The process that had claimed the job is not registered"),
        )  # fmt: skip

    def recover_silent(self, session: Session, now: datetime) -> list[str]:
        """Recover processes without a sign of life for `process_alive_threshold` before *now* (the
        database's clock); their names."""
        threshold = timedelta(seconds=self._config.options.process_alive_threshold)
        with self._reading():
            silent = lost.silent_processes(
                self._database, self._config.alias, now=now, threshold=threshold
            )
        for process in silent:
            notes = UNKNOWN
            if self._directory is not None:
                notes = journal.notes_of(self._directory, process.name)
            self._recover(
                session, process.name, process.ids, notes, _Loss(
                    ProcessPrunedError,
                    f"The process {process.name} gave its last sign of life at "
                    f"{process.seen_at:%Y-%m-%d %H:%M:%S %Z}, more than "
                    f"{threshold.total_seconds():g} s (OPTIONS['process_alive_threshold']) ago, "
                    "and counts as lost",
                ),
            )  # fmt: skip
        return [process.name for process in silent]

    def _recover_latecomers(self, session: Session, seconds: float) -> None:
        """Claims that the database was still working on when their process was recovered.

        Its journal is gone by then; what is not in its last notes had not begun.
        """
        for _, name, ids, notes in self._recovered:
            if ids:
                self._recover(session, name, ids, notes, _ended(name))
        # One more look after the time for which claims of nobody are left alone.
        oldest = time.monotonic() - 2 * seconds
        self._recovered = [entry for entry in self._recovered if entry[0] > oldest]

    def adopt(self, moved: Mapping[int, int], own: Journal | None) -> None:
        """Keep the claims of this process, whose rows have other ids now: *moved*, from old to new."""
        begun = own.notes.begun if own is not None else None
        with self._reading():
            adopt(self._database, moved, begun or ())

    def settle(self, session: Session, ids: Sequence[int], name: str, own: Journal | None) -> None:
        """At the end of this process: settle what it still holds, and take its rows away."""
        notes = UNKNOWN if own is None else Notes(own.notes.begun)
        loss = _Loss(ProcessExitError, f"The process {name} stopped", " while the job ran")
        self._recover(session, name, ids, notes, loss)

    def _recover(
        self,
        session: Session,
        name: str,
        ids: Sequence[int],
        notes: Notes,
        loss: "_Loss",
    ) -> None:
        """Settle every claim of the processes *ids*, or of nobody when *name* is empty; then delete them."""
        released = requeued = 0
        failed = self._fail_importing(session, notes, loss)
        settled: list[Claim] = []
        while claims := self._claims(ids, is_nobody=not name):
            if settled == (settled := [claim.job.claim for claim in claims]):
                raise DjQueueError(
                    "claims of a lost process are still there after they were settled"
                )
            unbegun, again, over = self._sorted(claims, notes.begun)
            if unbegun:
                released += session.release([claim.job.claim for claim in unbegun])
            requeued += self._requeue(session, again, loss.of_running)
            failed += self._fail(session, over, loss.of_running)
        if ids:
            session.deregister(ids)
        if released or requeued or failed or (ids and loss.error is not ProcessExitError):
            events.emit(
                events.ProcessRecovered(
                    self._config.alias, name, exception_path(loss.error), released, requeued, failed
                )
            )
        if released or requeued:
            events.emit(events.JobsReady(self._database, self._config.alias, ()))

    def _claims(self, ids: Sequence[int], *, is_nobody: bool) -> list[LostClaim]:
        alias = self._config.alias
        with self._reading():
            if is_nobody:
                return lost.claims_of_nobody(
                    self._database, alias, made_before=self._nobody_before, limit=_CLAIMS_PER_STEP
                )
            return lost.claims_of(self._database, alias, ids, limit=_CLAIMS_PER_STEP)

    def _sorted(
        self, claims: Sequence[LostClaim], begun: frozenset[Claim] | None
    ) -> tuple[list[LostClaim], list[LostClaim], list[LostClaim]]:
        """Claims that had not begun, those to try again, and those that failed for good."""
        unbegun, again, over = [], [], []
        for claim in claims:
            if claim.started_at is None or (begun is not None and claim.job.claim not in begun):
                unbegun.append(claim)
            elif is_tried_again(self._config, claim.job, self._importing):
                again.append(claim)
            else:
                over.append(claim)
        return unbegun, again, over

    def _importing(self, job: ClaimedJob) -> AbstractContextManager[object]:
        """Note that a module is imported here for a job of somebody else: it may end this process, too."""
        return nullcontext() if self._own is None else self._own.importing([job.claim])

    def _fail_importing(self, session: Session, notes: Notes, loss: "_Loss") -> int:
        """Fail jobs for which the process was importing a module, without asking their tasks."""
        if not notes.importing:
            return 0
        with self._reading():
            claims = lost.claims_named(self._database, self._config.alias, notes.importing)
        return self._fail(session, claims, loss.of_importing)

    def _requeue(self, session: Session, claims: Sequence[LostClaim], error: JobError) -> int:
        now = session.now() if claims else None
        attempts = [
            (claim.process_name, Outcome(claim.job, claim.started_at or now, now, error=error))
            for claim in claims
            if now is not None
        ]
        with self._reading():
            recorded = requeue(self._database, self._config.alias, attempts)
        events.emit(events.AttemptsRecorded(self._config.alias, recorded))
        return len(recorded)

    def _fail(self, session: Session, claims: Sequence[LostClaim], error: JobError) -> int:
        failed = 0
        by_worker = sorted(claims, key=lambda claim: claim.process_name)
        for worker, theirs in groupby(by_worker, key=lambda claim: claim.process_name):
            claimer = Claimer(self._config.alias, EVERYTHING, 0, worker)
            now = session.now()
            for some in batched(theirs, _CLAIMS_PER_STEP):
                outcomes = [
                    Outcome(claim.job, claim.started_at or now, now, error=error) for claim in some
                ]
                answer = session.exchange(claimer, outcomes, _NOTHING)
                limits.tell(self._database, answer.settled)
                rejected = set(answer.rejected)
                failed += len(outcomes) - len(rejected)
                recorded = [each for each in outcomes if each.job.id not in rejected]
                events.emit(events.AttemptsRecorded(self._config.alias, recorded))
                for outcome in outcomes:
                    if outcome.job.id not in rejected:
                        events.emit(job_failed(self._config.alias, outcome, error))
        return failed

    def _concerns(self, owner: Owner) -> bool:
        return (owner.database, owner.backend_alias) == (
            database_identity(self._database),
            self._config.alias,
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Django's connection of this thread, open for as long as a rare question takes."""
        connection = connections[self._database]
        try:
            if not connection.get_autocommit():
                # DATABASES may say so; then nothing that is written here would ever be committed.
                connection.set_autocommit(True)
            yield
        finally:
            discard(connection)


@dataclass(frozen=True, slots=True)
class _Loss:
    """How a process was lost, as its jobs will say."""

    error: type[DjQueueError]
    message: str
    """As far as it goes for every job."""
    while_running: str = ""

    @property
    def of_running(self) -> JobError:
        """Of a job that ran, or may have done so."""
        message = f"{self.message}{self.while_running}; how far the job came is not known."
        return JobError(exception_path(self.error), message, "")

    @property
    def of_importing(self) -> JobError:
        """Of a job whose module was being imported."""
        message = f"{self.message}; it was importing the module of the job's task, which is not tried again."
        return JobError(exception_path(self.error), message, "")


def _ended(name: str) -> _Loss:
    return _Loss(ProcessExitError, f"The process {name} ended", " while the job ran")
