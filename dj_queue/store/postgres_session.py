"""A worker's or dispatcher's connection to PostgreSQL.

Statements are bound and prepared on the server, their text is constant, and lists travel as arrays. The
planner is told to use the indexes on these connections: the tables of executions are nearly empty most of
the time, so statistics say "read it all", and between two vacuums that means reading every dead row of the
last minute.
"""

import json
import selectors
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, LiteralString, cast

import psycopg
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper
from psycopg import sql as composed

from dj_queue.exceptions import LockLost
from dj_queue.ids import new_token
from dj_queue.selectors import QueueSelection
from dj_queue.store import postgres_sql as sql
from dj_queue.store.announcements import Announcements
from dj_queue.store.base import Session, Topic
from dj_queue.store.locks import Holder, LeaderLock
from dj_queue.store.postgres_exchange import (
    claim_parameters,
    claimed_job,
    exchange,
    finish_parameters,
    release_parameters,
)
from dj_queue.store.postgres_lock import PostgresLock
from dj_queue.store.postgres_slots import PostgresSlots
from dj_queue.store.records import (
    Claim,
    Claimer,
    Exchange,
    Outcome,
    ProcessRecord,
    Promotion,
    Room,
    Said,
    ServerConnections,
    Settled,
)
from dj_queue.store.shared import ended_slots
from dj_queue.store.slots import Slots
from dj_queue.store.statistics import POSTGRES as ADD_STATISTICS
from dj_queue.store.statistics import CountedRows
from dj_queue.store.transactions import retried
from dj_queue.store.wake import WakeSignal

# What the listener of a burst may find late is bounded by this: see `Announcements`.
_ALERT_POLL_SECONDS = 0.002
_ALERT_SECONDS = 0.075


class PostgresSession(Session):
    """A psycopg connection of its own, reopened at the next use after it broke."""

    def __init__(
        self, alias: str, backend_alias: str, listen: Sequence[Topic], selection: QueueSelection
    ) -> None:
        # A copy, because the wrapper that `connections` gives belongs to this thread's user code.
        self._wrapper = cast("DatabaseWrapper", connections[alias].copy())
        self._backend_alias = backend_alias
        self._topics = tuple(listen)
        self._connection: psycopg.Connection[Any] | None = None
        # By statement: a cursor that has run it knows how to read each column, and finding that out takes
        # a quarter of what the claim of one job costs this process. A cursor keeps its last parameters and
        # rows in memory, so only those of one job; with many, the columns are a small part anyway.
        self._cursors: dict[LiteralString, psycopg.Cursor[Any]] = {}
        self._is_pooled = False
        self._heard = False
        self._alert_until = 0.0
        self._selection = selection
        self._news: set[str] = set()
        self.may_reconnect = True
        """Whether to connect again where there is no connection; not while a lock hangs on it."""
        self.connection_parameters: Mapping[str, Any] = {}
        """Of libpq, beside those of `DATABASES`, which win."""

    def exchange(self, claimer: Claimer, outcomes: Sequence[Outcome], room: Room) -> Exchange:
        failed = [outcome for outcome in outcomes if outcome.error is not None]
        if any(outcome.job.limit is not None for outcome in outcomes):
            return retried(lambda: self._exchange_with_slots(claimer, outcomes, room))
        if not failed:
            return self._exchange(claimer, outcomes, room)
        with self._connected() as connection, connection.transaction():
            done = [outcome for outcome in outcomes if outcome.error is None]
            rejected = self._fail(claimer, failed)
            answer = self._exchange(claimer, done, room)
        return answer._replace(rejected=[*rejected, *answer.rejected])

    def _exchange_with_slots(
        self, claimer: Claimer, outcomes: Sequence[Outcome], room: Room
    ) -> Exchange:
        """As `exchange`; the slots of jobs that ended go to those that wait, which may be claimed at once."""
        with self._connected() as connection, connection.transaction():
            failed = [outcome for outcome in outcomes if outcome.error is not None]
            done = [outcome for outcome in outcomes if outcome.error is None]
            rejected = list(self._fail(claimer, failed) if failed else ())
            if done:
                rejected += self._exchange(claimer, done, Room(0, 0)).rejected
            settled = self._slots.settle(**ended_slots(outcomes, rejected))
            answer = self._exchange(claimer, (), room)
            self._announce(settled.queues(but={job.id for job in answer.claimed}))
        return answer._replace(rejected=rejected, settled=settled)

    def _exchange(self, claimer: Claimer, outcomes: Sequence[Outcome], room: Room) -> Exchange:
        statement = exchange(
            claimer.selection,
            finishes=bool(outcomes),
            claims=bool(room),
            preserves=claimer.preserve_finished_jobs,
            skips_locked=claimer.use_skip_locked,
            lanes=claimer.lanes,
        )
        token = new_token()
        parameters: list[object] = []
        if outcomes:
            parameters += finish_parameters(claimer, outcomes)
        if room:
            parameters += claim_parameters(claimer, room, token)
        rows = self._rows(statement, parameters, is_small=len(outcomes) <= 1)
        rejected, now = rows[0][0], rows[0][1]
        claimed = [claimed_job(token, row) for row in rows if row[2] is not None]
        return Exchange(rejected or (), claimed, now)

    def _fail(self, claimer: Claimer, outcomes: Sequence[Outcome]) -> Sequence[Any]:
        rows = self._rows(sql.FAIL, finish_parameters(claimer, outcomes))
        return cast("Sequence[Any]", rows[0][0])

    def release(self, claims: Sequence[Claim]) -> int:
        parameters = [*release_parameters(claims), Announcements.text(self._backend_alias, ())]
        return int(self._rows(sql.RELEASE, parameters)[0][0])

    def claims_of(self, process_id: int) -> list[Claim]:
        return [Claim(*row) for row in self._rows(sql.CLAIMS_OF, (process_id,))]

    def promote_due(self, limit: int) -> Promotion:
        rows = self._rows(
            sql.PROMOTE, (self._backend_alias, limit, Topic.READY.value, self._backend_alias)
        )
        promoted, queues, next_in, limited, _, retry_in, has_blocked = rows[0]
        said = [Said._make([*each[:3], datetime.fromisoformat(each[3])]) for each in limited or ()]
        settled = self.in_slots(lambda slots: self._settle(slots, said)) if said else Settled()
        seconds, retry = (None if each is None else float(each) for each in (next_in, retry_in))
        return Promotion(promoted, queues or (), seconds, settled, retry, has_blocked)

    def in_slots[T](self, work: Callable[[Slots], T]) -> T:
        def attempt() -> T:
            with self._connected() as connection, connection.transaction():
                return work(self._slots)

        return retried(attempt)

    def see_slots[T](self, look: Callable[[Slots], T]) -> T:
        return look(self._slots)

    def announce_settled(self, settled: Settled) -> None:
        self._announce(settled.queues())

    def _settle(self, slots: Slots, said: Sequence[Said]) -> Settled:
        settled = slots.settle(said)
        self.announce_settled(settled)
        return settled

    def _announce(self, queues: Mapping[str, Sequence[str]]) -> None:
        for alias, names in queues.items():
            self._rows(sql.NOTIFY, (Topic.READY.value, Announcements.text(alias, names)))

    @property
    def _slots(self) -> PostgresSlots:
        return PostgresSlots(self._rows)

    def now(self) -> datetime:
        return cast("datetime", self._rows("SELECT clock_timestamp()", ())[0][0])

    def connections(self) -> ServerConnections:
        return ServerConnections(*self._rows(sql.CONNECTIONS, ())[0])

    def register(self, processes: Sequence[ProcessRecord]) -> dict[str, int]:
        first, *others = processes
        with self._connected() as connection, connection.transaction():
            supervisor = self._register(first, None)
            return {
                first.name: supervisor,
                **{other.name: self._register(other, supervisor) for other in others},
            }

    def _register(self, process: ProcessRecord, supervisor: int | None) -> int:
        rows = self._rows(
            sql.REGISTER,
            (
                self._backend_alias, process.kind, process.name, process.pid, process.hostname,
                json.dumps(process.metadata), supervisor,
            ),
        )  # fmt: skip
        return int(rows[0][0])

    def heartbeat(self, process_ids: Sequence[int]) -> int:
        return int(self._rows(sql.HEARTBEAT, (list(process_ids),))[0][0])

    def describe(self, process_id: int, metadata: dict[str, Any]) -> None:
        self._rows(sql.DESCRIBE, (json.dumps(metadata), process_id))

    def deregister(self, process_ids: Sequence[int]) -> None:
        self._rows(sql.DEREGISTER, (list(process_ids),))

    def add_statistics(self, rows: CountedRows) -> None:
        document = json.dumps([row.as_mapping() for row in rows])
        self._rows(ADD_STATISTICS[type(rows[0])], (self._backend_alias, document))

    def wait(self, wake: WakeSignal, seconds: float) -> bool:
        if time.monotonic() < self._alert_until:
            seconds = min(seconds, _ALERT_POLL_SECONDS)
        connection = self._connection
        if connection is None or not self._topics:
            return not wake.wait(seconds)
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as waiting:
            waiting.register(wake.fileno(), selectors.EVENT_READ)
            waiting.register(connection, selectors.EVENT_READ)
            while not wake.is_set and not self._heard:
                left = deadline - time.monotonic()
                if left <= 0 or not waiting.select(left):
                    return True
                if not wake.is_set:
                    wake.drain()
                self._take_notifications(connection)
        # What was heard is answered by the look that follows; what only woke us is not.
        heard, self._heard = self._heard, False
        return heard

    @property
    def is_woken_by_database(self) -> bool:
        return bool(self._topics) and self._connection is not None and not self._is_pooled

    @property
    def is_deaf(self) -> bool:
        return bool(self._topics) and self._connection is not None and self._is_pooled

    def leader_lock(self, role: str, holder: Holder) -> LeaderLock:
        return PostgresLock(self, self._backend_alias, role, holder)

    @property
    def database_alias(self) -> str:
        """The entry of `DATABASES` that this session is on."""
        return self._wrapper.alias

    @property
    def topics(self) -> tuple[Topic, ...]:
        """What this session listens to."""
        return self._topics

    def listen_to(self, topics: Sequence[Topic]) -> None:
        """Listen to *topics* and nothing else, from now on."""
        self._topics = tuple(topics)
        self._heard = False
        self._news.clear()
        if self._connection is not None and not self._is_pooled:
            with self._connected() as connection:
                connection.execute("UNLISTEN *", prepare=False)
                self._listen(connection)

    def take_news(self) -> set[str]:
        """What was said of leaders since the last call."""
        news, self._news = self._news, set()
        return news

    def is_behind_pooler(self) -> bool:
        """Whether a pooler stands between us and the server; connects to find out."""
        with self._connected():
            return self._is_pooled

    @property
    def is_closed(self) -> bool:
        """Whether there is no connection now."""
        return self._connection is None

    def run(
        self, statement: LiteralString, parameters: Sequence[object] = ()
    ) -> list[tuple[Any, ...]]:
        """The rows of a statement whose text is constant."""
        return self._rows(statement, parameters)

    def execute_all(self, statements: LiteralString) -> None:
        """Run several statements without parameters or results in one round trip."""
        with self._connected() as connection:
            connection.execute(statements, prepare=False)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What this session does inside is one transaction."""
        with self._connected() as connection, connection.transaction():
            yield

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self._cursors.clear()
        if connection is not None:
            try:
                connection.close()
            except psycopg.Error:
                return  # It is gone already.

    def _rows(
        self,
        statement: LiteralString,
        parameters: Sequence[object],
        *,
        is_small: bool = False,
    ) -> list[tuple[Any, ...]]:
        """The rows of a statement; *is_small* when what its parameters hold may be kept in memory."""
        with self._connected() as connection:
            cursor = self._cursors.pop(statement, None) or connection.cursor(binary=True)
            # Not prepared behind a pooler: the next statement may reach a server that has not seen it.
            cursor.execute(statement, parameters, prepare=not self._is_pooled)
            rows = cursor.fetchall()
            if is_small and len(rows) <= 1:
                self._cursors[statement] = cursor
            return rows

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        with self._wrapper.wrap_database_errors:
            connection = self._connection
            if connection is None:
                if not self.may_reconnect:
                    raise LockLost("the connection that held it is gone")
                connection = self._connection = self._connect()
            try:
                yield connection
            except psycopg.Error:
                if connection.closed or connection.broken:
                    self.close()
                raise

    def _connect(self) -> psycopg.Connection[Any]:
        parameters = {**self.connection_parameters, **self._wrapper.get_connection_params()}
        parameters |= {"autocommit": True, "cursor_factory": psycopg.Cursor, "prepare_threshold": 0}
        # Django's loaders hand out JSON as text; here it is wanted parsed.
        parameters.pop("context", None)
        connection = psycopg.connect(**parameters)
        try:
            self._prepare_session(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare_session(self, connection: psycopg.Connection[Any]) -> None:
        row = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
        # A pooler answers with its own idea of our process id. Settings would leak to its other clients,
        # and notifications may never arrive, so there is neither.
        self._is_pooled = row is None or row[0] != connection.info.backend_pid
        if role := self._wrapper.settings_dict["OPTIONS"].get("assume_role"):
            connection.execute(composed.SQL("SET ROLE {}").format(composed.Identifier(role)))
        if self._is_pooled:
            return
        connection.execute(sql.SESSION_SETTINGS, prepare=False)
        connection.add_notify_handler(self._hear)
        self._listen(connection)

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        for topic in self._topics:
            connection.execute(composed.SQL("LISTEN {}").format(composed.Identifier(topic.value)))

    def _take_notifications(self, connection: psycopg.Connection[Any]) -> None:
        with self._wrapper.wrap_database_errors:
            try:
                connection.pgconn.consume_input()
            except psycopg.Error:
                self.close()
                raise
            while notification := connection.pgconn.notifies():
                self._hear(
                    psycopg.Notify(
                        notification.relname.decode(),
                        notification.extra.decode(),
                        notification.be_pid,
                    )
                )

    def _hear(self, notification: psycopg.Notify) -> None:
        if notification.channel == Topic.LEADER:
            self._news.add(notification.payload)
            self._heard = True
            return
        announcement = Announcements.read(notification.payload)
        if announcement is None or announcement.concerns(self._backend_alias, self._selection):
            self._heard = True
            self.calls += 1
            if announcement is None or announcement.is_burst:
                self._alert_until = time.monotonic() + _ALERT_SECONDS
