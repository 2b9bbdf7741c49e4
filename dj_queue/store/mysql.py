"""MySQL and MariaDB: short transactions of a few statements, however many jobs they are about.

A session looks for work without a transaction, and begins one when there is some. It takes jobs in the
order of an index with `SKIP LOCKED`, and reads committed rows only: the gaps that MySQL's default
isolation locks would make claims and inserts wait for each other. A deadlock is still possible, and the
whole transaction is run again then. Nothing here wakes another process: MySQL has no way to.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.db import Error, connections, transaction
from django.db.backends.mysql.base import DatabaseWrapper

from dj_queue.exceptions import LockLost
from dj_queue.selectors import EVERYTHING, QueueSelection
from dj_queue.states import DispatchOutcome
from dj_queue.store import mysql_sql as sql
from dj_queue.store.base import ROWS_PER_STATEMENT, PartWritten, Session, Store, Topic
from dj_queue.store.estimates import Statement, mysql_rows
from dj_queue.store.locks import Holder, LeaderLock
from dj_queue.store.mysql_exchange import (
    CHARACTERS_PER_STATEMENT,
    claim,
    clock,
    end_claims,
    finish,
    free_executors,
    insert_rows,
    next_due,
    pick,
    promote,
)
from dj_queue.store.mysql_lock import MySQLLock
from dj_queue.store.mysql_queues import Look, ReadyQueues
from dj_queue.store.mysql_slots import MySQLSlots
from dj_queue.store.queue_names import WAITING_QUEUES_BY_GROUPS
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
    ServerConnections,
    Settled,
)
from dj_queue.store.shared import (
    batches,
    distinct_queues,
    ended_slots,
    execution_row,
    insert_claimed,
    job_row,
    outcome_of,
    to_column,
)
from dj_queue.store.slots import Slots
from dj_queue.store.statistics import MYSQL as ADD_STATISTICS
from dj_queue.store.statistics import CountedRows
from dj_queue.store.transactions import retried
from dj_queue.store.wake import WakeSignal

# A claim's key is given once and in the order of claims. Added to this it is a place before all that ready
# rows are ever given, which no other row has, and jobs that go back stand as they stood before.
_BEFORE_ALL_PLACES = -(2**62)

# A connection that was not used for so long is opened anew; see `sql.SET_WAIT_TIMEOUT`.
_IDLE_SECONDS = 15.0

# JSON that MySQL (two by place, one by depth) and MariaDB do not take.
_UNSTORABLE = frozenset((3140, 3141, 3157, 4038))


class MySQLStore(Store):
    """The queue's statements for MySQL and MariaDB."""

    waits_for_passed_rows = True
    waiting_queues_statement = WAITING_QUEUES_BY_GROUPS

    def insert(
        self, backend_alias: str, jobs: Sequence[NewJob], written: PartWritten | None = None
    ) -> Inserted:
        del written  # The driver waits for each answer.
        if connections[self.alias].get_autocommit():
            return retried(lambda: self._insert(backend_alias, jobs))
        return self._insert(backend_alias, jobs)

    def insert_claimed(
        self, backend_alias: str, job: NewJob, *, process_id: int, token: int
    ) -> InsertedClaim:
        def insert() -> InsertedClaim:
            with transaction.atomic(using=self.alias), connections[self.alias].cursor() as cursor:
                now = clock(cursor)
                return insert_claimed(
                    cursor, backend_alias, job, now, process_id=process_id, token=token
                )

        return retried(insert)

    def now(self) -> datetime:
        with connections[self.alias].cursor() as cursor:
            return clock(cursor)

    def estimated_rows(self, statements: Sequence[Statement]) -> list[int] | None:
        with connections[self.alias].cursor() as cursor:
            return mysql_rows(cursor, statements)

    def slots(self, cursor: Any) -> MySQLSlots:
        return MySQLSlots(cursor)

    def open_session(
        self,
        backend_alias: str,
        *,
        listen: Sequence[Topic] = (),
        selection: QueueSelection = EVERYTHING,
    ) -> Session:
        del listen, selection  # There is nothing to listen to.
        wrapper = cast("DatabaseWrapper", connections[self.alias])
        return MySQLSession(wrapper.copy(), backend_alias)

    def _insert(self, backend_alias: str, jobs: Sequence[NewJob]) -> Inserted:
        with transaction.atomic(using=self.alias), connections[self.alias].cursor() as cursor:
            now = clock(cursor)
            outcomes = [outcome_of(job, now) for job in jobs]
            placed = list(zip(jobs, outcomes, strict=True))
            for batch in batches(
                placed,
                lambda each: len(each[0].payload),
                most_items=ROWS_PER_STATEMENT,
                most_weight=CHARACTERS_PER_STATEMENT,
            ):
                insert_rows(
                    cursor, sql.INSERT_JOBS, [job_row(job, backend_alias, now) for job, _ in batch]
                )
                for wanted, statement in (
                    (DispatchOutcome.READY, sql.INSERT_READY),
                    (DispatchOutcome.SCHEDULED, sql.INSERT_SCHEDULED),
                ):
                    rows = [
                        execution_row(job, backend_alias, now, outcome)
                        for job, outcome in batch
                        if outcome is wanted
                    ]
                    insert_rows(cursor, statement, rows)
        return Inserted(now, outcomes)


class MySQLSession(Session):
    """A MySQL connection of its own, reopened at the next use after it broke."""

    def __init__(self, wrapper: DatabaseWrapper, backend_alias: str) -> None:
        self._wrapper = wrapper
        # Another thread than the one that opens the session may use and close it.
        wrapper.inc_thread_sharing()
        wrapper.settings_dict["AUTOCOMMIT"] = True
        wrapper.settings_dict["OPTIONS"]["isolation_level"] = "read committed"
        self._backend_alias = backend_alias
        self._used_at = 0.0
        self._queues = ReadyQueues(backend_alias)
        self.may_reconnect = True
        """Whether to connect again where there is no connection; not while a lock hangs on it."""

    def exchange(self, claimer: Claimer, outcomes: Sequence[Outcome], room: Room) -> Exchange:
        look = self._look(claimer, room)
        if not outcomes and not look.choices:
            return Exchange((), (), look.now)

        def finish_and_claim(cursor: Any) -> Exchange:
            rejected = finish(cursor, claimer, outcomes) if outcomes else ()
            settled, seen = Settled(), look
            slots = ended_slots(outcomes, rejected)
            if slots["ended"]:
                settled = MySQLSlots(cursor).settle(**slots)
                if settled.started and (executors := free_executors(claimer, room)):
                    seen = self._queues.look(cursor, claimer.selection, executors)
            now, picked = pick(cursor, claimer, room, seen)
            return Exchange(rejected, claim(cursor, claimer, picked, now), now, settled)

        return self._transaction(finish_and_claim)

    def release(self, claims: Sequence[Claim]) -> int:
        if not claims:
            return 0

        def release(cursor: Any) -> int:
            held = end_claims(cursor, claims)
            if held:
                rows = [
                    {"id": claim.id.hex, "place": _BEFORE_ALL_PLACES + key}
                    for claim, key in held.items()
                ]
                cursor.execute(sql.RELEASE, (to_column(clock(cursor)), json.dumps(rows)))
            return len(held)

        return self._transaction(release)

    def claims_of(self, process_id: int) -> list[Claim]:
        rows = self.execute(sql.CLAIMS_OF, (process_id,))
        return [Claim(UUID(hex=row[0]), row[1]) for row in rows]

    def promote_due(self, limit: int) -> Promotion:
        with self._connected() as cursor:
            now, scheduled, retry, waits = next_due(cursor, self._backend_alias)
        if scheduled is None or scheduled > 0:
            return Promotion(0, (), scheduled, seconds_to_retry=retry, has_blocked=waits)

        def promote_and_settle(cursor: Any) -> Promotion:
            due, said = promote(cursor, self._backend_alias, now, limit)
            settled = MySQLSlots(cursor).settle(said) if said else Settled()
            _, left, retry, waits = next_due(cursor, self._backend_alias)
            return Promotion(len(due), distinct_queues(due, 3), left, settled, retry, waits)

        return self._transaction(promote_and_settle)

    def in_slots[T](self, work: Callable[[Slots], T]) -> T:
        return self._transaction(lambda cursor: work(MySQLSlots(cursor)))

    def see_slots[T](self, look: Callable[[Slots], T]) -> T:
        with self._connected() as cursor:
            return look(MySQLSlots(cursor))

    def now(self) -> datetime:
        with self._connected() as cursor:
            return clock(cursor)

    def connections(self) -> ServerConnections:
        [(_, used)], [(limit,)] = self.execute(sql.CONNECTIONS), self.execute(sql.MAX_CONNECTIONS)
        return ServerConnections(int(used), int(limit))

    def register(self, processes: Sequence[ProcessRecord]) -> dict[str, int]:
        def register(cursor: Any) -> dict[str, int]:
            now, names = to_column(clock(cursor)), [each.name for each in processes]
            supervisor = None
            for together in (processes[:1], processes[1:]):
                rows = [
                    (
                        self._backend_alias, each.kind, each.name, each.pid, each.hostname,
                        json.dumps(each.metadata), supervisor, now, now,
                    )
                    for each in together
                ]  # fmt: skip
                if rows:
                    statement = sql.with_rows(sql.INSERT_PROCESSES, len(rows))
                    cursor.execute(statement + sql.SAME_PROCESS, rows)
                supervisor = supervisor or cursor.lastrowid
            cursor.execute(sql.PROCESS_IDS, (self._backend_alias, names))
            ids = dict(cursor.fetchall())
            return {name: ids[name] for name in names}

        return self._transaction(register)

    def heartbeat(self, process_ids: Sequence[int]) -> int:
        if not process_ids:
            return 0

        def beat(cursor: Any) -> int:
            cursor.execute(sql.HEARTBEAT, (to_column(clock(cursor)), process_ids))
            return int(cursor.rowcount)

        return self._transaction(beat)

    def describe(self, process_id: int, metadata: dict[str, Any]) -> None:
        self.execute_update(sql.DESCRIBE, (json.dumps(metadata), process_id))

    def deregister(self, process_ids: Sequence[int]) -> None:
        if not process_ids:
            return

        def deregister(cursor: Any) -> None:
            cursor.execute(sql.ORPHAN, (process_ids,))
            cursor.execute(sql.DEREGISTER, (process_ids,))

        self._transaction(deregister)

    def add_statistics(self, rows: CountedRows) -> None:
        insert, add = ADD_STATISTICS[type(rows[0])]
        statement = sql.with_rows(insert, len(rows)) + add
        parameters = [row.parameters(self._backend_alias) for row in rows]
        self._transaction(lambda cursor: cursor.execute(statement, parameters))

    def wait(self, wake: WakeSignal, seconds: float) -> bool:
        return not wake.wait(seconds)

    @property
    def is_woken_by_database(self) -> bool:
        return False

    def leader_lock(self, role: str, holder: Holder) -> LeaderLock:
        return MySQLLock(self, self._backend_alias, role, holder)

    def set_read_timeout(self, seconds: int) -> None:
        """How long the driver waits for an answer, from the next connection on."""
        self._wrapper.settings_dict["OPTIONS"].setdefault("read_timeout", seconds)

    @property
    def is_closed(self) -> bool:
        """Whether there is no connection now."""
        return self._wrapper.connection is None

    @property
    def driver_error(self) -> type[Exception]:
        """The driver's class of errors, for who uses `driver`."""
        return cast("type[Exception]", self._wrapper.Database.Error)

    @contextmanager
    def driver(self) -> Iterator[Any]:
        """The driver's connection, for statements that are not waited for."""
        with self._connected():
            yield self._wrapper.connection

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> Sequence[Any]:
        """The rows of one statement, outside of transactions."""
        with self._connected() as cursor:
            cursor.execute(statement, parameters)
            return cast("Sequence[Any]", cursor.fetchall())

    def execute_update(self, statement: str, parameters: Sequence[object]) -> int:
        """How many rows one statement found, outside of transactions."""
        with self._connected() as cursor:
            cursor.execute(statement, parameters)
            return int(cursor.rowcount)

    def close(self) -> None:
        try:
            self._wrapper.close()
        except Error:
            return  # It is gone already.

    def _look(self, claimer: Claimer, room: Room) -> Look:
        executors = free_executors(claimer, room)
        with self._connected() as cursor:
            if executors:
                return self._queues.look(cursor, claimer.selection, executors)
            return Look(clock(cursor), ())

    def _transaction[T](self, work: Callable[[Any], T]) -> T:
        def attempt() -> T:
            with self._connected() as cursor:
                cursor.execute("BEGIN")
                answer = work(cursor)
                cursor.execute("COMMIT")
                return answer

        return retried(attempt)

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        with self._wrapper.wrap_database_errors:
            self._connect()
            try:
                yield self._wrapper.create_cursor()
            except BaseException as error:
                self._take_back()
                if isinstance(error, self._wrapper.Database.OperationalError):
                    self._tell_unstorable(error)
                raise

    def _connect(self) -> None:
        if not self.may_reconnect and self.is_closed:
            raise LockLost("the connection that held it is gone")
        used_at, self._used_at = self._used_at, time.monotonic()
        if self.may_reconnect and self._used_at - used_at > _IDLE_SECONDS:
            self.close()  # The server may have done so already, and would only tell at the next use.
        try:
            is_new = self.is_closed
            self._wrapper.ensure_connection()
            if is_new:
                self._wrapper.create_cursor().execute(sql.SET_WAIT_TIMEOUT)
        except BaseException:
            # Perhaps it was made, and its isolation was not set.
            self.close()
            raise

    def _tell_unstorable(self, error: Exception) -> None:
        # The driver takes it for a failure of the server, and whoever wrote the value would try it for ever.
        if error.args[0] in _UNSTORABLE:
            raise self._wrapper.Database.DataError(*error.args) from error

    def _take_back(self) -> None:
        """Leave no transaction open after an error, and close a connection that cannot even do that."""
        try:
            self._wrapper.connection.rollback()
        except self._wrapper.Database.Error:
            self.close()
