"""SQLite: the row of the leader is a lease, checked in each transaction that the leader writes in.

Renewing writes to the file, which wakes every process that works on it, so the lease is long and renewed
seldom. How soon a dead leader is replaced does not hang on it: all who use the file are on one machine, and
a follower looks at the leader's process twice a second, without asking the database. The lease decides only
where nothing can be seen, between containers that share a volume, or about a thread that hangs.

A follower also looks at the version of the file, which costs microseconds, and reads the row when it changed:
so it learns that a leader gave up the lock.
"""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.db import Error

from dj_queue.exceptions import LockLost
from dj_queue.store.liveness import Identity, Liveness, identity, liveness
from dj_queue.store.locks import PROGRESS_SECONDS, SILENCE_SECONDS, Holder, LeaderLock
from dj_queue.store.shared import from_column, to_column
from dj_queue.store.wake import WakeSignal

if TYPE_CHECKING:
    import sqlite3

    from dj_queue.store.sqlite import SQLiteSession

_BEAT_SECONDS = 2.0
_LOOK_SECONDS = 0.5
_LEASE_SECONDS = 3 * PROGRESS_SECONDS

_ROW = """
    SELECT pid, hostname, incarnation, process_name, term, expires_at AS "expires_at [datetime]"
    FROM dj_queue_leaderships WHERE backend_alias = ? AND role = ?
"""
_LEAD = """
    INSERT INTO dj_queue_leaderships (backend_alias, role, process_name, pid, hostname, incarnation, term,
        since, progress_at, expires_at)
    VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?)
    ON CONFLICT (backend_alias, role) DO UPDATE SET
        process_name = excluded.process_name, pid = excluded.pid, hostname = excluded.hostname,
        incarnation = excluded.incarnation, term = term + 1, since = excluded.since,
        progress_at = excluded.progress_at, expires_at = excluded.expires_at
    RETURNING term
"""
_MINE = "backend_alias = ? AND role = ? AND process_name = ? AND term = ?"
_STILL_LEADS = f"SELECT 1 FROM dj_queue_leaderships WHERE {_MINE}"
_RENEW = f"UPDATE dj_queue_leaderships SET progress_at = ?, expires_at = ? WHERE {_MINE}"
_END = f"UPDATE dj_queue_leaderships SET expires_at = ? WHERE {_MINE}"

_HARDLY_WAIT = "PRAGMA busy_timeout = 200"


class _Row(NamedTuple):
    holder: Identity
    process_name: str
    term: int
    expires_at: datetime | None


class SQLiteLock(LeaderLock):
    """A lease that is checked in the transactions of a session."""

    beat_seconds = _BEAT_SECONDS

    def __init__(
        self, session: "SQLiteSession", backend_alias: str, role: str, holder: Holder
    ) -> None:
        super().__init__(backend_alias, role, holder)
        self._session = session
        self._me = identity(holder.pid, holder.hostname)
        self._seen: _Row | None = None
        self._stopped_since: float | None = None

    def wait(self, wake: WakeSignal) -> None:
        while not wake.is_set:
            if self._seen is None or self._is_replaceable(self._seen):
                # Not at once, if it was not to be had when it seemed to be.
                wake.wait(_LOOK_SECONDS)
                return
            wake.wait(_LOOK_SECONDS)
            if self._session.has_changed():
                self._read()
                if self._seen is None or self._is_replaceable(self._seen):
                    return

    def release(self) -> None:
        try:
            if self.is_held:
                self._end()
        finally:
            self._forget()

    def abandon(self) -> None:
        if self.is_held:
            # Nobody else could tell: this process lives, and the lease is long.
            self._session.guard = None
            with suppress(Error):
                # A file that is locked may be why; then the lease has to run out.
                with self._session.database() as database:
                    database.execute(_HARDLY_WAIT)
                self._end()
        self._forget()

    def _end(self) -> None:
        with self._session.transaction() as database:
            database.execute(_END, (_now(), *self.mine))

    def _forget(self) -> None:
        self.term = None
        self._seen = None
        self._session.guard = None
        self._session.close()

    @property
    def _role(self) -> tuple[str, str]:
        return (self.backend_alias, self.role)

    def _take(self) -> int | None:
        self._read()
        if self._seen is not None and not self._is_replaceable(self._seen):
            return None
        with self._session.transaction() as database:
            found = self._row(database)
            if found != self._seen:
                return None  # Somebody was quicker, or the leader went on.
            now = datetime.now(UTC)
            row = (
                *self._role, self.holder.process_name, *self._me,
                to_column(now), to_column(now), to_column(now + timedelta(seconds=_LEASE_SECONDS)),
            )  # fmt: skip
            [(term,)] = database.execute(_LEAD, row).fetchall()
        self._session.guard = self._check
        return int(term)

    def _prove(self, *, tells_progress: bool) -> None:
        if tells_progress:
            with self._session.transaction() as database:
                now = datetime.now(UTC)
                until = now + timedelta(seconds=_LEASE_SECONDS)
                database.execute(_RENEW, (to_column(now), to_column(until), *self.mine))
        else:
            with self._session.database() as database:
                self._check(database)

    def _check(self, database: "sqlite3.Connection") -> None:
        if database.execute(_STILL_LEADS, self.mine).fetchone() is None:
            raise LockLost("another process has taken the lease")

    def _read(self) -> None:
        with self._session.database() as database:
            seen = self._row(database)
        if self._seen is None or seen is None or seen.holder != self._seen.holder:
            self._stopped_since = None
        self._seen = seen

    def _row(self, database: "sqlite3.Connection") -> _Row | None:
        row = database.execute(_ROW, self._role).fetchone()
        if row is None:
            return None
        return _Row(Identity(*row[:3]), row[3], row[4], from_column(row[5]))

    def _is_replaceable(self, row: _Row) -> bool:
        is_ours = row.process_name == self.holder.process_name
        if is_ours or row.expires_at is None or row.expires_at <= datetime.now(UTC):
            return True
        known = liveness(row.holder, hostname=self.holder.hostname)
        if known is not Liveness.STOPPED:
            self._stopped_since = None
            return known is Liveness.DEAD
        if self._stopped_since is None:
            self._stopped_since = time.monotonic()
        return time.monotonic() - self._stopped_since >= SILENCE_SECONDS


def _now() -> datetime | None:
    return to_column(datetime.now(UTC))
