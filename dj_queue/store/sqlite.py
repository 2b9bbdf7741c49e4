"""SQLite: short write transactions that say at their beginning that they will write.

A transaction that reads first and writes later fails at once with "database is locked" when another
process wrote in between, whatever the timeout. `BEGIN IMMEDIATE` waits its turn instead. A session looks
for work without a transaction and begins one only when there is some, so an idle worker never holds the
one write lock there is. Statements run inside the process: a loop of them is no loop of round trips.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from django.db import connections, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper

from dj_queue.exceptions import UnsupportedDatabase
from dj_queue.selectors import EVERYTHING, QueueSelection
from dj_queue.states import DispatchOutcome
from dj_queue.store import sqlite_sql as sql
from dj_queue.store.base import PartWritten, Session, Store, Topic
from dj_queue.store.locks import Holder, LeaderLock
from dj_queue.store.records import (
    Claim,
    Claimer,
    Exchange,
    Inserted,
    InsertedClaim,
    NewJob,
    Outcome,
    ProcessRecord,
    Promotion,
    Room,
    Settled,
)
from dj_queue.store.shared import (
    distinct_queues,
    ended_slots,
    execution_row,
    from_column,
    insert_claimed,
    job_row,
    outcome_of,
    seconds,
    to_column,
)
from dj_queue.store.slots import Slots
from dj_queue.store.sqlite_exchange import block, claim, finish
from dj_queue.store.sqlite_lock import SQLiteLock
from dj_queue.store.sqlite_slots import SQLiteSlots, slots_of
from dj_queue.store.statistics import SQLITE as ADD_STATISTICS
from dj_queue.store.statistics import CountedRows
from dj_queue.store.wake import WakeSignal

# How often a waiting session looks whether the file changed (PRAGMA data_version, about 6 microseconds).
_DATA_VERSION_POLL_SECONDS = 0.02

# The value for "the disk may have it later"; the lower one, for "never mind", stays.
_NORMAL = 1
_SYNCHRONOUS = "PRAGMA synchronous = {}"


class SQLiteStore(Store):
    """The queue's statements for SQLite."""

    has_one_writer = True

    def insert(
        self, backend_alias: str, jobs: Sequence[NewJob], written: PartWritten | None = None
    ) -> Inserted:
        del written  # The database works in this very thread.
        # One machine, one clock: the database's is ours.
        now = datetime.now(UTC)
        outcomes = [outcome_of(job, now) for job in jobs]
        placed = list(zip(jobs, outcomes, strict=True))
        # The first statement writes, so even a deferred transaction waits for its turn.
        with transaction.atomic(using=self.alias), connections[self.alias].cursor() as cursor:
            cursor.executemany(sql.INSERT_JOB, [job_row(job, backend_alias, now) for job in jobs])
            for outcome, statement in (
                (DispatchOutcome.READY, sql.INSERT_READY),
                (DispatchOutcome.SCHEDULED, sql.INSERT_SCHEDULED),
            ):
                rows = [
                    execution_row(job, backend_alias, now, outcome)
                    for job, its_outcome in placed
                    if its_outcome is outcome
                ]
                if rows:
                    cursor.executemany(statement, rows)
        return Inserted(now, outcomes)

    def insert_claimed(
        self, backend_alias: str, job: NewJob, *, process_id: int, token: int
    ) -> InsertedClaim:
        now = datetime.now(UTC)
        with transaction.atomic(using=self.alias), connections[self.alias].cursor() as cursor:
            return insert_claimed(
                cursor, backend_alias, job, now, process_id=process_id, token=token
            )

    @contextmanager
    def in_no_hurry(self) -> Iterator[None]:
        # Only with a write-ahead log: there a commit that is not on the disk can be lost, but break nothing.
        with connections[self.alias].cursor() as cursor:
            if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                yield
                return
            before = cursor.execute("PRAGMA synchronous").fetchone()[0]
            cursor.execute(_SYNCHRONOUS.format(min(before, _NORMAL)))
        try:
            yield
        finally:
            # A connection that was closed meanwhile is a new one, which has its own.
            if connections[self.alias].connection is not None:
                with connections[self.alias].cursor() as cursor:
                    cursor.execute(_SYNCHRONOUS.format(before))

    def now(self) -> datetime:
        return datetime.now(UTC)

    def slots(self, cursor: Any) -> SQLiteSlots:
        def run(statement: str, parameters: Sequence[object]) -> Sequence[Any]:
            return cast(
                "Sequence[Any]", cursor.execute(statement.replace("?", "%s"), parameters).fetchall()
            )

        return SQLiteSlots(run)

    def open_session(
        self,
        backend_alias: str,
        *,
        listen: Sequence[Topic] = (),
        selection: QueueSelection = EVERYTHING,
    ) -> Session:
        del listen, selection  # The version of the file says only that something changed.
        wrapper = cast("DatabaseWrapper", connections[self.alias])
        if wrapper.is_in_memory_db():
            raise UnsupportedDatabase(
                f"DATABASES[{self.alias!r}] is an SQLite database in memory, which threads cannot share; "
                "give it a file as NAME to run jobs"
            )
        return SQLiteSession(wrapper.copy(), backend_alias)


class SQLiteSession(Session):
    """An SQLite connection of its own, reopened at the next use after it broke."""

    def __init__(self, wrapper: DatabaseWrapper, backend_alias: str) -> None:
        self._wrapper = wrapper
        # Another thread than the one that opens the session may use and close it.
        wrapper.inc_thread_sharing()
        self._backend_alias = backend_alias
        self._seen_version: int | None = None
        self.guard: Callable[[sqlite3.Connection], None] | None = None
        """Called first in each transaction; it takes place only if this does not raise."""

    def exchange(self, claimer: Claimer, outcomes: Sequence[Outcome], room: Room) -> Exchange:
        if not outcomes and not (room and self._has_ready(claimer.backend_alias)):
            return Exchange((), (), datetime.now(UTC))
        with self._transaction() as database:
            rejected = [
                outcome.job.id for outcome in outcomes if not finish(database, claimer, outcome)
            ]
            slots = ended_slots(outcomes, rejected)
            settled = slots_of(database).settle(**slots) if slots["ended"] else Settled()
            now = datetime.now(UTC)
            claimed = claim(database, claimer, room, now) if room else []
        return Exchange(rejected, claimed, now, settled)

    def release(self, claims: Sequence[Claim]) -> int:
        released, now = 0, to_column(datetime.now(UTC))
        with self._transaction() as database:
            # The last goes back first, so that the first ends up before it.
            for job_id, token in sorted(claims, reverse=True):
                if database.execute(sql.END_CLAIM, (job_id.hex, token)).rowcount:
                    database.execute(sql.RELEASE, (now, job_id.hex))
                    released += 1
        return released

    def claims_of(self, process_id: int) -> list[Claim]:
        with self._connected() as database:
            rows = database.execute(sql.CLAIMS_OF, (process_id,)).fetchall()
        return [Claim(UUID(hex=row[0]), row[1]) for row in rows]

    def promote_due(self, limit: int) -> Promotion:
        now = datetime.now(UTC)
        next_due = self._next_due()
        if next_due is None or next_due > now:
            return Promotion(0, (), seconds(now, next_due), Settled(), *self._waiting_besides(now))
        with self._transaction() as database:
            due = database.execute(sql.DUE, (self._backend_alias, to_column(now), limit)).fetchall()
            free = [row for row in due if row[6] is None]
            database.executemany(sql.PROMOTE, [(*row[1:6], to_column(now)) for row in free])
            database.executemany(sql.REMOVE_SCHEDULED, [(row[0],) for row in due])
            said = block(database, [row[1] for row in due if row[6] is not None], now)
            settled = slots_of(database).settle(said) if said else Settled()
        left = seconds(now, self._next_due())
        queues = distinct_queues(due, 3)
        return Promotion(len(due), queues, left, settled, *self._waiting_besides(now))

    def in_slots[T](self, work: Callable[[Slots], T]) -> T:
        with self._transaction() as database:
            return work(slots_of(database))

    def see_slots[T](self, look: Callable[[Slots], T]) -> T:
        with self._connected() as database:
            return look(slots_of(database))

    def now(self) -> datetime:
        return datetime.now(UTC)

    def register(self, processes: Sequence[ProcessRecord]) -> dict[str, int]:
        ids: dict[str, int] = {}
        now = to_column(datetime.now(UTC))
        with self._transaction() as database:
            for process in processes:
                database.execute(sql.UNREGISTER, (self._backend_alias, process.name))
                cursor = database.execute(
                    sql.REGISTER,
                    (
                        self._backend_alias, process.kind, process.name, process.pid,
                        process.hostname, json.dumps(process.metadata), next(iter(ids.values()), None),
                        now, now,
                    ),
                )  # fmt: skip
                ids[process.name] = cast("int", cursor.lastrowid)
        return ids

    def heartbeat(self, process_ids: Sequence[int]) -> int:
        now = to_column(datetime.now(UTC))
        with self._transaction() as database:
            rows = [(now, process_id) for process_id in process_ids]
            return database.executemany(sql.HEARTBEAT, rows).rowcount

    def describe(self, process_id: int, metadata: dict[str, Any]) -> None:
        with self._transaction() as database:
            database.execute(sql.DESCRIBE, (json.dumps(metadata), process_id))

    def deregister(self, process_ids: Sequence[int]) -> None:
        rows = [(process_id,) for process_id in process_ids]
        with self._transaction() as database:
            database.executemany(sql.ORPHAN, rows)
            database.executemany(sql.DEREGISTER, rows)

    def add_statistics(self, rows: CountedRows) -> None:
        with self._transaction() as database:
            database.executemany(
                ADD_STATISTICS[type(rows[0])], [row.parameters(self._backend_alias) for row in rows]
            )

    def wait(self, wake: WakeSignal, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not wake.is_set:
            if self._has_changed():
                self.calls += 1
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return True
            wake.wait(min(left, _DATA_VERSION_POLL_SECONDS))
        return False

    @property
    def is_woken_by_database(self) -> bool:
        return self._wrapper.connection is not None

    def leader_lock(self, role: str, holder: Holder) -> LeaderLock:
        return SQLiteLock(self, self._backend_alias, role, holder)

    def note_look(self) -> None:
        self.has_changed()

    def has_changed(self) -> bool:
        """Whether another connection has committed since this was last asked."""
        if self._seen_version is not None:
            return self._has_changed()
        with self._connected() as database:
            self._seen_version = database.execute("PRAGMA data_version").fetchone()[0]
        return True

    def database(self) -> AbstractContextManager[sqlite3.Connection]:
        """The connection, for reading."""
        return self._connected()

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """The connection in a transaction that writes."""
        return self._transaction()

    def close(self) -> None:
        self._seen_version = None
        self._wrapper.close()

    def _has_ready(self, backend_alias: str) -> bool:
        with self._connected() as database:
            # Only a connection that has looked knows what a changed version means.
            self._seen_version = database.execute("PRAGMA data_version").fetchone()[0]
            return bool(database.execute(sql.HAS_READY, (backend_alias,)).fetchone()[0])

    def _next_due(self) -> datetime | None:
        with self._connected() as database:
            self._seen_version = database.execute("PRAGMA data_version").fetchone()[0]
            return from_column(database.execute(sql.NEXT_DUE, (self._backend_alias,)).fetchone()[0])

    def _waiting_besides(self, now: datetime) -> tuple[float | None, bool]:
        """Seconds to the next retry, and whether jobs wait for slots."""
        with self._connected() as database:
            row = database.execute(sql.NEXT_RETRY, (self._backend_alias,)).fetchone()
        return seconds(now, from_column(row[0])), bool(row[1])

    def _has_changed(self) -> bool:
        """Whether another connection has committed since this session last looked for work."""
        if self._wrapper.connection is None or self._seen_version is None:
            return False
        with self._connected() as database:
            version: int = database.execute("PRAGMA data_version").fetchone()[0]
        changed = version != self._seen_version
        self._seen_version = version
        return changed

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._wrapper.wrap_database_errors:
            self._wrapper.ensure_connection()
            try:
                yield cast("sqlite3.Connection", self._wrapper.connection)
            except sqlite3.IntegrityError:
                raise  # The values are wrong, not the connection.
            except sqlite3.Error:
                # Perhaps it is closed, or its file was replaced: then it would fail for ever.
                self.close()
                raise

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connected() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                if self.guard is not None:
                    self.guard(database)
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
