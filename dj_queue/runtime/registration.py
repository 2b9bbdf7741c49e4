"""The rows that say who runs here: one for the supervisor, one for each actor, with their signs of life."""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from typing import Any

from django.db import InterfaceError, OperationalError

from dj_queue import events
from dj_queue.config import BackendConfig
from dj_queue.hooks import fire_hooks
from dj_queue.models import Process
from dj_queue.runtime.journal import Journal
from dj_queue.runtime.loop import Actor
from dj_queue.runtime.recovery import Recovery
from dj_queue.runtime.statistics import Statistics
from dj_queue.store import Session, store_for
from dj_queue.store.records import ROLLOUT_PROTOCOL, ClaimedJob, Outcome, ProcessRecord

# Between two looks whether a process of this machine died; they cost no statement.
_LOOK_SECONDS = 1.0

# The share of the server's connections from which on a warning is due.
_FULL = 0.75


class Registration:
    """What this process is called, and the ids that its rows have."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.hostname = socket.gethostname()[:100]
        # Two containers may share a host name and both be pid 1; the random part tells boots apart.
        self._boot = uuid.uuid4().hex[:8]
        self._ids: dict[str, int] = {}
        self._is_complete = threading.Event()
        self.journal: Journal | None = None
        """Set before the process is registered, and so before anything begins; None where there is none."""

    def name(self, actor: str) -> str:
        """The name under which *actor* is registered, unique among all processes."""
        return f"{actor}@{self.hostname}:{self.pid}:{self._boot}"

    def id_of(self, name: str) -> int | None:
        """The id of the row with *name*; None until it is registered."""
        return self._ids.get(name)

    @property
    def by_name(self) -> dict[str, int]:
        """The ids of all rows of this process, by their names."""
        return dict(self._ids)

    @property
    def ids(self) -> list[int]:
        """The ids of all rows of this process."""
        return list(self._ids.values())

    def moved_to(self, ids: dict[str, int]) -> dict[int, int]:
        """From the ids that rows have had until now to those in *ids*."""
        return {old: ids[name] for name, old in self._ids.items()}

    def set(self, ids: dict[str, int]) -> None:
        """The rows are there, with these ids by name."""
        self._ids = dict(ids)
        self._is_complete.set()

    def wait(self, seconds: float) -> bool:
        """Wait until the rows are there, at most *seconds*; whether they are."""
        return self._is_complete.wait(seconds)

    def noting(self, job: ClaimedJob) -> Callable[[], object]:
        """What notes that *job* begins when it is called. From any thread."""
        return _nothing if self.journal is None else self.journal.noting(job.claim)

    def importing(self, *jobs: ClaimedJob) -> AbstractContextManager[object]:
        """Note for a block that a module is imported for the sake of *jobs*. From any thread."""
        if self.journal is None:
            return nullcontext()
        return self.journal.importing([job.claim for job in jobs])

    def reserve(self, job: ClaimedJob) -> int | None:
        """A place in the journal where a child process notes that *job* begins. From any thread."""
        return None if self.journal is None else self.journal.reserve(job.claim)

    def settle(self, outcomes: Iterable[Outcome]) -> None:
        """Note that *outcomes* are written."""
        if self.journal is not None:
            self.journal.settle(outcome.job.claim for outcome in outcomes)


class Registrar(Actor):
    """Registers the process, writes its heartbeats, looks after the dead, and takes the rows away at the end.

    It stops last, when the other actors have given back what they held.
    """

    def __init__(
        self,
        config: BackendConfig,
        registration: Registration,
        *,
        actors: Sequence[tuple[str, str, dict[str, Any]]],
        capacity: int,
        connections: int,
        registered: Callable[[], None],
        each_second: Callable[[], None],
        is_well: Callable[[str], bool],
    ) -> None:
        """*actors*: name, kind and metadata of each, the supervisor first. *registered* is called then.

        *capacity*: the most jobs that may have begun here and not be written yet. *connections*: the most
        that the process opens to the database. *is_well* says of the
        name of a row whether that part does its work: one that does not gives no sign of life.
        """
        super().__init__(config.alias, f"dj_queue-{config.alias}-registrar")
        self._config = config
        self._registration = registration
        self._registered = registered
        self._each_second = each_second
        self._is_well = is_well
        self._capacity = capacity
        self._connections = connections
        self._recovery = Recovery(config)
        self._statistics = Statistics(config)
        self._heartbeat_at = 0.0
        self._records = [
            ProcessRecord(
                registration.name(name),
                kind,
                registration.pid,
                registration.hostname,
                with_version(metadata),
            )
            for name, kind, metadata in actors
        ]

    def open_session(self) -> Session:
        return store_for(self._config.options.database_alias).open_session(self._config.alias)

    def tick(self, session: Session) -> float:
        is_time = time.monotonic() >= self._heartbeat_at
        if is_time:
            self._show_life(session)
            self._heartbeat_at = time.monotonic() + self._config.options.process_heartbeat_interval
        self._each_second()
        self._recovery.recover_the_dead(session)
        if is_time:
            self._recovery.prune(session)
        # Last, since it may fail, and matters least.
        self._statistics.write_if_due(session)
        return min(_LOOK_SECONDS, max(0.0, self._heartbeat_at - time.monotonic()))

    def wind_down(self, session: Session, deadline: float) -> None:
        del deadline
        registration, is_settled = self._registration, False
        try:
            if registration.ids:
                self._sign_off(session)
            is_settled = True
            _again_if_broken(lambda: self._statistics.write(session))
        finally:
            if registration.journal is not None:
                # What is not settled is for whoever finds the journal.
                registration.journal.close(remove=is_settled)

    def _show_life(self, session: Session) -> None:
        registration = self._registration
        if registration.journal is None and not registration.ids:
            registration.journal = self._recovery.open_journal(
                self._records[0].name, capacity=self._capacity
            )
        elif registration.journal is not None and not registration.journal.touch():
            error = FileNotFoundError(f"{registration.journal.path} was removed")
            events.emit(events.JournalUnavailable(self.backend_alias, error))
        ids = registration.ids
        well = [
            process_id
            for record in self._records
            if (process_id := registration.id_of(record.name)) and self._is_well(record.name)
        ]
        if ids and session.heartbeat(well) == len(well):
            return
        # The first time; or somebody took us for dead, and we are not.
        session.deregister(ids)
        known = session.register(self._records)
        if ids:
            self._recovery.adopt(registration.moved_to(known), registration.journal)
        else:
            self._warn_of_few_connections(session)
            for record in self._records:
                self._fire("start", record, known[record.name], known)
        registration.set(known)
        self._registered()

    def _warn_of_few_connections(self, session: Session) -> None:
        server = session.connections()
        if server is not None and server.used + self._connections > _FULL * server.limit:
            events.emit(
                events.ConnectionsScarce(
                    self.backend_alias, self._connections, server.used, server.limit
                )
            )

    def tell_stopping(self, name: str) -> None:
        """Call the hooks for the part called *name*, which begins to stop. From its thread."""
        known = self._registration.by_name
        for record in self._records:
            if record.name == name and name in known:
                self._fire("stop", record, known[name], known)

    def _sign_off(self, session: Session) -> None:
        """Settle what is still claimed, and take the rows away, the supervisor's last."""
        known, journal = self._registration.by_name, self._registration.journal
        supervisor, *actors = self._records
        ids = [known[record.name] for record in actors]
        _again_if_broken(lambda: self._recovery.settle(session, ids, supervisor.name, journal))
        for record in actors:
            self._fire("exit", record, known[record.name], known)
        self._fire("stop", supervisor, known[supervisor.name], known)
        _again_if_broken(lambda: session.deregister([known[supervisor.name]]))
        self._fire("exit", supervisor, known[supervisor.name], known)

    def _fire(
        self, moment: str, record: ProcessRecord, process_id: int, known: dict[str, int]
    ) -> None:
        is_supervisor = record is self._records[0]
        process = Process(
            id=process_id,
            backend_alias=self.backend_alias,
            kind=record.kind,
            name=record.name,
            pid=record.pid,
            hostname=record.hostname,
            metadata=record.metadata,
            supervisor_id=None if is_supervisor else known[self._records[0].name],
        )
        process._state.db = self._config.options.database_alias  # noqa: SLF001
        process._state.adding = False  # noqa: SLF001
        fire_hooks(f"{record.kind.lower()}.{moment}", process, backend_alias=self.backend_alias)


def with_version(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """*metadata* of a row, and what each row tells of the version that runs."""
    common = {"dj_queue_version": version("dj-queue"), "rollout_protocol": ROLLOUT_PROTOCOL}
    return common | dict(metadata)


def _nothing() -> None:
    return


def _again_if_broken(write: Callable[[], None]) -> None:
    """Do *write*, and once more on a new connection if the old one was broken.

    This session asks nothing for a minute at a time, so it may find out only now.
    """
    try:
        write()
    except (OperationalError, InterfaceError):
        write()
