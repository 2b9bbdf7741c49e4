"""The contract between the queue and a database vendor.

A `Store` belongs to one entry of `DATABASES` and writes on the connection of the calling thread, inside
the caller's transaction if there is one. A `Session` owns a connection of its own and belongs to one
thread of the runtime; each of its methods is one transaction, and raises `django.db.Error` when the
database does not take it. Every implementation passes the suite in `tests/store`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from django.db import connections

from dj_queue.selectors import EVERYTHING, QueueSelection
from dj_queue.states import DispatchOutcome
from dj_queue.store.estimates import Statement
from dj_queue.store.limited import in_own_transaction, insert_limited
from dj_queue.store.locks import Holder, LeaderLock
from dj_queue.store.queue_names import WAITING_QUEUES_BY_SKIPPING
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
from dj_queue.store.slots import Slots
from dj_queue.store.statistics import CountedRows
from dj_queue.store.wake import WakeSignal

ROWS_PER_STATEMENT = 1000
"""How many jobs one statement of a bulk enqueue writes at the most."""


type PartWritten = Callable[[datetime, Sequence[DispatchOutcome]], None]
"""Told of the next jobs, in order, that are written: their `created_at`, and what became of each."""


class Topic(StrEnum):
    """What a session can be woken for by the database; on PostgreSQL the name of the channel."""

    READY = "dj_queue_ready"
    """Jobs became ready."""
    SCHEDULED = "dj_queue_scheduled"
    """A job was scheduled, perhaps for earlier than all others."""
    RECURRING = "dj_queue_recurring"
    """Somebody changed what is to be fired, and when."""
    LEADER = "dj_queue_leader"
    """A leader lives, or gave up its lock; only followers listen."""


class Session(ABC):
    """A connection for bookkeeping. Not safe for use by two threads."""

    calls = 0
    """How often the database has called for work; grows for ever where it can call."""

    @abstractmethod
    def exchange(self, claimer: Claimer, outcomes: Sequence[Outcome], room: Room) -> Exchange:
        """Record *outcomes*, of which no job comes twice, and claim for *room*, in one transaction.

        Claimed jobs count as started: what is claimed here is handed to an executor at once. An outcome
        whose claim was taken away changes nothing and is named in the answer.
        """

    @abstractmethod
    def release(self, claims: Sequence[Claim]) -> int:
        """Put claimed jobs that have not begun back at the front of the ready ones; the number of them.

        A claim that is not ours any more is passed over.
        """

    @abstractmethod
    def claims_of(self, process_id: int) -> list[Claim]:
        """Every claim that belongs to a process, for one that lost the answer to its own request."""

    @abstractmethod
    def promote_due(self, limit: int) -> Promotion:
        """Make up to *limit* scheduled jobs ready whose time has come, in the order of their times."""

    @abstractmethod
    def in_slots[T](self, work: Callable[[Slots], T]) -> T:
        """What *work* returns, done with the slots of concurrency keys in a transaction of its own."""

    @abstractmethod
    def see_slots[T](self, look: Callable[[Slots], T]) -> T:
        """What *look* returns, which only reads; outside of transactions."""

    def announce_settled(self, settled: Settled) -> None:  # noqa: B027
        """Tell other processes of the jobs that got a slot, where there is a way. Inside `in_slots`."""

    @abstractmethod
    def now(self) -> datetime:
        """The database's clock, aware."""

    def connections(self) -> ServerConnections | None:
        """How many connections the server has and takes; None where there is no server."""
        return None

    @abstractmethod
    def register(self, processes: Sequence[ProcessRecord]) -> dict[str, int]:
        """Insert a process and its actors (the first is the supervisor of the others); ids by name."""

    @abstractmethod
    def heartbeat(self, process_ids: Sequence[int]) -> int:
        """Write a sign of life for each; how many of them are still registered."""

    @abstractmethod
    def describe(self, process_id: int, metadata: dict[str, Any]) -> None:
        """Have the row of a process tell *metadata* about it from now on; nothing if it is gone."""

    @abstractmethod
    def deregister(self, process_ids: Sequence[int]) -> None:
        """Delete the rows of processes that stopped."""

    @abstractmethod
    def add_statistics(self, rows: CountedRows) -> None:
        """Add to the statistics of the backend; *rows* are sorted, and few enough for one statement.

        There is at least one, and all are of one kind.
        """

    @abstractmethod
    def wait(self, wake: WakeSignal, seconds: float) -> bool:
        """Sleep until *wake* is set, the database says that there is work, or *seconds* have passed.

        Whether to look for work: False when it was *wake* that ended the sleep.
        """

    def note_look(self) -> None:  # noqa: B027
        """Work is looked for elsewhere than in this session; what is written from now on ends its wait."""

    @property
    @abstractmethod
    def is_woken_by_database(self) -> bool:
        """Whether `wait` is known to end when another process makes work, so that polling can be rare."""

    @property
    def is_deaf(self) -> bool:
        """Whether this session was to hear what the database says, and something between the two keeps it."""
        return False

    @abstractmethod
    def leader_lock(self, role: str, holder: Holder) -> LeaderLock:
        """The lock on *role* of this backend, not held yet. One for each session, before its first use."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection; never raises."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Store(ABC):
    """The queue's statements for one vendor, on one entry of `DATABASES`."""

    has_one_writer = False
    """Whether one transaction writes at a time, whatever its rows."""

    waits_for_passed_rows = False
    """Whether a DELETE waits for a row that somebody else changes even if it then leaves it."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    @abstractmethod
    def insert(
        self, backend_alias: str, jobs: Sequence[NewJob], written: PartWritten | None = None
    ) -> Inserted:
        """Write jobs as ready or scheduled, on the calling thread's connection and in its transaction.

        A constant number of statements for each `ROWS_PER_STATEMENT` jobs; all of them or none.
        Ready jobs keep the order in which they are given. *written* may be called for the first of them
        while the database works on others.
        """

    @abstractmethod
    def insert_claimed(
        self, backend_alias: str, job: NewJob, *, process_id: int, token: int
    ) -> InsertedClaim:
        """Write a job that is claimed from the start, or ready if its queue is paused.

        Outside of transactions only: whoever called runs the job as soon as this returns.
        """

    def in_no_hurry(self) -> AbstractContextManager[None]:
        """What is written in the block, on the calling thread's connection, may be lost with the power.

        For what is done again then. Where a commit keeps others waiting, it does not wait for the disk.
        """
        return nullcontext()

    @abstractmethod
    def now(self) -> datetime:
        """The database's clock, aware, asked on the calling thread's connection."""

    def insert_limited(self, backend_alias: str, jobs: Sequence[NewJob]) -> Inserted:
        """Write jobs of which some have a limit; see `dj_queue.store.limited`."""
        return insert_limited(self, backend_alias, jobs)

    def in_slots[T](self, work: Callable[[Slots], T]) -> T:
        """What *work* returns, done with the slots of concurrency keys in a transaction of its own.

        On the calling thread's connection, which should not be in a transaction already: the keys stay
        locked until that ends.
        """
        return in_own_transaction(self, work)

    def see_slots[T](self, look: Callable[[Slots], T]) -> T:
        """What *look* returns, which only reads; in the caller's transaction if there is one."""
        with connections[self.alias].cursor() as cursor:
            return look(self.slots(cursor))

    @abstractmethod
    def slots(self, cursor: Any) -> Slots:
        """The slots of concurrency keys, worked on with a cursor of Django's."""

    def announce_ready(self, backend_alias: str, queues: Sequence[str]) -> None:  # noqa: B027
        """Tell other processes of ready jobs that were written without `insert`, where there is a way."""

    waiting_queues_statement = WAITING_QUEUES_BY_SKIPPING

    def waiting_queues(self, backend_alias: str) -> set[str]:
        """The names of the queues that have ready, scheduled or blocked jobs, however many those are."""
        with connections[self.alias].cursor() as cursor:
            statement = self.waiting_queues_statement
            cursor.execute(statement, [backend_alias] * statement.count("%s"))
            return {row[0] for row in cursor.fetchall()}

    def estimated_rows(self, statements: Sequence[Statement]) -> list[int] | None:
        """How many rows the planner expects of each of *statements*; None where it cannot tell.

        See `dj_queue.store.estimates` for what they may be. They are not run.
        """
        del statements
        return None

    def announce_settled(self, settled: Settled) -> None:
        """Tell other processes of the jobs that got a slot, where there is a way. Inside `in_slots`."""
        for alias, queues in settled.queues().items():
            self.announce_ready(alias, queues)

    def announce_scheduled(self, backend_alias: str) -> None:  # noqa: B027
        """Tell other processes that something is due earlier than they know, where there is a way."""

    def announce_recurring(self, backend_alias: str) -> None:  # noqa: B027
        """Tell other processes that recurring tasks were changed, where there is a way."""

    @abstractmethod
    def open_session(
        self,
        backend_alias: str,
        *,
        listen: Sequence[Topic] = (),
        selection: QueueSelection = EVERYTHING,
    ) -> Session:
        """A session for one thread; connects at its first use.

        *listen* names what should end its waits; of ready jobs only those in the queues of *selection*.
        """
