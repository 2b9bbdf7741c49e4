"""PostgreSQL: one statement to enqueue, one to finish what is done and claim what can start."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, NamedTuple, cast
from weakref import WeakKeyDictionary

import psycopg
from django.db import connections, transaction
from django.db.backends.postgresql.base import DatabaseWrapper

from dj_queue.selectors import EVERYTHING, QueueSelection
from dj_queue.states import DispatchOutcome
from dj_queue.store import postgres_arrays as arrays
from dj_queue.store import postgres_sql as sql
from dj_queue.store.announcements import Announcements
from dj_queue.store.base import ROWS_PER_STATEMENT, PartWritten, Session, Store, Topic
from dj_queue.store.estimates import Statement, postgres_rows
from dj_queue.store.postgres_session import PostgresSession
from dj_queue.store.postgres_slots import PostgresSlots
from dj_queue.store.records import (
    Inserted,
    InsertedClaim,
    NewJob,
)
from dj_queue.store.shared import from_column


class _Announcing(NamedTuple):
    """An insert, and how it is announced."""

    backend_alias: str
    topic: Topic
    queues: tuple[str, ...]
    text: str | None
    """What is sent with the insert; None when it is silent."""
    is_deferred: bool
    started: float
    """By the monotonic clock."""


@dataclass(slots=True)
class _Link:
    """What is known of the driver's connection under one of Django's."""

    raw: "psycopg.Connection[Any]"
    is_direct: bool = False
    """Whether no pooler stands between us and one server process."""
    cursor: "psycopg.Cursor[Any] | None" = None
    """The one that ran the last frequent statement. It knows how to write and read the columns, and setting
    that up is an eighth of what an enqueue costs this process. It keeps the last job's payload in memory.
    """


class PostgresStore(Store):
    """The queue's statements for PostgreSQL."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self._announcements = Announcements()
        # Of Django's connections: a thread has one for each entry of `DATABASES`, and they die together.
        self._links: WeakKeyDictionary[DatabaseWrapper, _Link] = WeakKeyDictionary()

    def insert(
        self, backend_alias: str, jobs: Sequence[NewJob], written: PartWritten | None = None
    ) -> Inserted:
        if not jobs:
            return Inserted(self.now(), ())
        if len(jobs) == 1:
            return self._insert_one(backend_alias, jobs[0])
        if len(jobs) <= ROWS_PER_STATEMENT:
            return self._insert_many(backend_alias, jobs, written)
        with transaction.atomic(using=self.alias):
            return self._insert_many(backend_alias, jobs, written)

    def insert_claimed(
        self, backend_alias: str, job: NewJob, *, process_id: int, token: int
    ) -> InsertedClaim:
        connection = self._connected()
        row = self._run(
            connection,
            sql.INSERT_CLAIMED,
            (
                job.id, job.task_path, job.queue_name, job.priority, job.payload,
                backend_alias, int(job.executor), job.trace_context, process_id, token,
            ),
            is_frequent=True,
        )  # fmt: skip
        self._note_pooler(connection, row[2])
        return InsertedClaim(_aware(row[0]), row[1])

    def estimated_rows(self, statements: Sequence[Statement]) -> list[int] | None:
        with connections[self.alias].cursor() as cursor:
            return postgres_rows(cursor, statements)

    def slots(self, cursor: Any) -> PostgresSlots:
        def run(statement: LiteralString, parameters: Sequence[Any]) -> Sequence[Any]:
            cursor.execute(statement, parameters)
            return cast("Sequence[Any]", cursor.fetchall())

        return PostgresSlots(run)

    def announce_ready(self, backend_alias: str, queues: Sequence[str]) -> None:
        self._execute(sql.NOTIFY, (Topic.READY.value, Announcements.text(backend_alias, queues)))

    def announce_scheduled(self, backend_alias: str) -> None:
        self._execute(sql.NOTIFY, (Topic.SCHEDULED.value, Announcements.text(backend_alias, ())))

    def announce_recurring(self, backend_alias: str) -> None:
        self._execute(sql.NOTIFY, (Topic.RECURRING.value, Announcements.text(backend_alias, ())))

    def now(self) -> datetime:
        return _aware(self._execute(sql.NOW, ())[0])

    def open_session(
        self,
        backend_alias: str,
        *,
        listen: Sequence[Topic] = (),
        selection: QueueSelection = EVERYTHING,
    ) -> Session:
        return PostgresSession(self.alias, backend_alias, listen, selection)

    def _insert_one(self, backend_alias: str, job: NewJob) -> Inserted:
        connection = self._connected()
        topic = Topic.READY if job.run_after is None else Topic.SCHEDULED
        announcing = self._announcing(connection, backend_alias, topic, (job.queue_name,))
        row = self._run(
            connection,
            sql.insert_one(is_scheduled=job.run_after is not None, announces=bool(announcing.text)),
            (
                job.id, job.task_path, job.queue_name, job.priority, job.payload,
                backend_alias, int(job.executor), job.trace_context,
                *(() if job.run_after is None else (job.run_after,)),
                *((announcing.text,) if announcing.text else ()),
            ),
            is_frequent=True,
        )  # fmt: skip
        self._announce_late(announcing)
        created_at, is_scheduled, server_pid = row[:3]
        self._note_pooler(connection, server_pid)
        return Inserted(_aware(created_at), (_outcome(is_scheduled=is_scheduled),))

    def _insert_many(
        self, backend_alias: str, jobs: Sequence[NewJob], written: PartWritten | None
    ) -> Inserted:
        outcomes: list[DispatchOutcome] = []
        for chunk, (created_at, scheduled, _) in self._answers(backend_alias, jobs):
            places = [DispatchOutcome.READY] * len(chunk)
            for place in scheduled:
                places[place - 1] = DispatchOutcome.SCHEDULED
            outcomes += places
            if written is not None:
                written(_aware(created_at), places)
        self._announce_many(backend_alias, jobs, outcomes)
        return Inserted(_aware(created_at), outcomes)

    def _answers(
        self, backend_alias: str, jobs: Sequence[NewJob]
    ) -> Iterator[tuple[Sequence[NewJob], Any]]:
        """Write *jobs* in parts: each part with its answer.

        While whoever asked looks at one answer, the server works on the next part: about a third of the
        time that a job takes in a bulk enqueue is this process's own.
        """
        first, *others = (
            jobs[place : place + ROWS_PER_STATEMENT]
            for place in range(0, len(jobs), ROWS_PER_STATEMENT)
        )
        connection = self._connected()
        answer = self._run(connection, sql.INSERT_MANY, (None, backend_alias, *_columns(first)))
        created_at = answer[0]
        self._note_pooler(connection, answer[2])
        with self._pipeline(connection) if others else nullcontext(None) as flush:
            for part in others:
                with _wrapped(connection, _bound_on_server(connection)) as cursor:
                    parameters = (created_at, backend_alias, *_columns(part))
                    cursor.execute(sql.INSERT_MANY, parameters)
                    if flush is not None:
                        flush()
                    yield first, answer
                    first, answer = part, cursor.fetchone()
        yield first, answer

    @contextmanager
    def _pipeline(self, connection: DatabaseWrapper) -> Iterator[Callable[[], object] | None]:
        """Let statements be sent without waiting for their answers, where that is safe; what sends them.

        Not through a pooler, of which old ones mix answers up, and not where somebody looks at single
        statements and how long they take.
        """
        raw = _raw(connection)
        is_safe = self._link(connection).is_direct and psycopg.Pipeline.is_supported()
        if not is_safe or connection.queries_logged or connection.execute_wrappers:
            yield None
            return

        def flush() -> None:
            # Asks the server to answer without the end of the pipeline; then sends what is buffered.
            raw.pgconn.send_flush_request()
            raw.pgconn.flush()

        with connection.wrap_database_errors, raw.pipeline():
            yield flush

    def _announce_many(
        self, backend_alias: str, jobs: Sequence[NewJob], outcomes: Sequence[DispatchOutcome]
    ) -> None:
        for topic, wanted in (
            (Topic.READY, DispatchOutcome.READY),
            (Topic.SCHEDULED, DispatchOutcome.SCHEDULED),
        ):
            queues = tuple(
                dict.fromkeys(
                    job.queue_name
                    for job, outcome in zip(jobs, outcomes, strict=True)
                    if outcome is wanted
                )
            )
            if queues:
                announcing = self._announcing(self._connected(), backend_alias, topic, queues)
                if announcing.text:
                    self._execute(sql.NOTIFY, (topic.value, announcing.text))
                self._announce_late(announcing)

    def _announcing(
        self,
        connection: DatabaseWrapper,
        backend_alias: str,
        topic: Topic,
        queues: tuple[str, ...],
    ) -> _Announcing:
        in_transaction = connection.in_atomic_block or not connection.autocommit
        text = self._announcements.begin(backend_alias, topic, queues, is_deferred=in_transaction)
        return _Announcing(backend_alias, topic, queues, text, in_transaction, time.monotonic())

    def _announce_late(self, announcing: _Announcing) -> None:
        """Tell of an insert that was to be silent, if it took too long for that."""
        if self._announcements.came_too_late(
            started=announcing.started,
            was_sent=announcing.text is not None,
            is_deferred=announcing.is_deferred,
        ):
            text = self._announcements.text(announcing.backend_alias, announcing.queues)
            self._execute(sql.NOTIFY, (announcing.topic.value, text))

    def _connected(self) -> DatabaseWrapper:
        """Django's connection of this thread, open."""
        connection = cast("DatabaseWrapper", connections[self.alias])
        connection.ensure_connection()
        return connection

    def _execute(self, statement: LiteralString, parameters: Sequence[object]) -> Any:
        """See `_run`."""
        return self._run(self._connected(), statement, parameters)

    def _run(
        self,
        connection: DatabaseWrapper,
        statement: LiteralString,
        parameters: Sequence[object],
        *,
        is_frequent: bool = False,
    ) -> Any:
        """Run a statement on Django's *connection*; its first row.

        A cursor that binds on the server, under Django's own wrapper: execute wrappers, the query log
        and the caller's transaction work as for any other statement. A frequent statement is prepared
        where that is safe: planning it each time would take about a third of the time of an enqueue.
        """
        link = self._link(connection)
        raw = link.raw
        # Django turns preparing off for the whole connection, because of poolers.
        threshold = raw.prepare_threshold
        # Not in a query log: psycopg does not remember the text of what it prepared, and Django 6.0 then
        # logs None.
        is_prepared = is_frequent and link.is_direct and not connection.queries_logged
        raw.prepare_threshold = 0 if is_prepared else threshold
        used, link.cursor = link.cursor if is_prepared else None, None
        try:
            bound_on_server = used or _bound_on_server(connection)
            cursor = _wrapped(connection, bound_on_server)
            cursor.execute(statement, parameters)
            row = cursor.fetchone()
        finally:
            raw.prepare_threshold = threshold
        link.cursor = bound_on_server if is_prepared else None
        return row

    def _link(self, connection: DatabaseWrapper) -> _Link:
        link = self._links.get(connection)
        if link is None or link.raw is not connection.connection:
            link = self._links[connection] = _Link(_raw(connection))
        return link

    def _note_pooler(self, connection: DatabaseWrapper, server_pid: int) -> None:
        """Compare who answered with whom we connected to: a pooler names a process of its own."""
        # An execute wrapper may have closed the connection after the statement.
        if connection.connection is not None:
            link = self._link(connection)
            link.is_direct = link.is_direct or link.raw.info.backend_pid == server_pid


def _raw(connection: DatabaseWrapper) -> "psycopg.Connection[Any]":
    return cast("psycopg.Connection[Any]", connection.connection)


def _bound_on_server(connection: DatabaseWrapper) -> "psycopg.Cursor[Any]":
    with connection.wrap_database_errors:
        return psycopg.Cursor(_raw(connection))


def _wrapped(connection: DatabaseWrapper, cursor: "psycopg.Cursor[Any]") -> Any:
    """*cursor* under Django's own, the way Django makes its own."""
    return connection._prepare_cursor(cursor)  # type: ignore[attr-defined]  # noqa: SLF001


def _columns(jobs: Sequence[NewJob]) -> list[object]:
    """Jobs as the lists of `INSERT_MANY`: six that describe their kinds, three with an entry per job."""
    numbers: dict[tuple[Any, ...], int] = {}
    kinds = [
        numbers.setdefault(
            (
                job.task_path,
                job.queue_name,
                job.priority,
                job.executor,
                job.trace_context,
                job.run_after,
            ),
            len(numbers) + 1,
        )
        for job in jobs
    ]
    paths, queues, priorities, executors, traces, times = zip(*numbers, strict=True)
    return [
        list(paths),
        list(queues),
        arrays.numbers(priorities),
        arrays.numbers(map(int, executors)),
        list(traces),
        list(times),
        arrays.ids([job.id for job in jobs]),
        arrays.json_texts([job.payload for job in jobs]),
        arrays.numbers(kinds),
    ]


def _aware(moment: Any) -> datetime:
    # Django's connection hands out local times where USE_TZ is off.
    return cast("datetime", from_column(moment))


def _outcome(*, is_scheduled: bool) -> DispatchOutcome:
    return DispatchOutcome.SCHEDULED if is_scheduled else DispatchOutcome.READY
