"""MySQL and MariaDB: a named lock of the leader's connection; followers wait for it inside the server.

A waiting `GET_LOCK` touches no table and so holds up no purge (unlike PostgreSQL's, see `postgres_lock`),
and it is granted as soon as the server notices that the holder is gone. The thread waits for the answer
and for its wake-up signal at once; when it is woken it leaves the connection, and with it the place in line.

Locks are the whole server's, not the database's, and MySQL takes names of up to 64 characters, so the
name has a hash of what it is about. In a cluster that lets several servers write (Galera) each has locks
of its own, and there may be a leader on each.
"""

import hashlib
import selectors
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.db import OperationalError

from dj_queue.exceptions import LockLost
from dj_queue.store.locks import SILENCE_SECONDS, Holder, LeaderLock
from dj_queue.store.mysql_sql import CLOCK
from dj_queue.store.shared import to_column
from dj_queue.store.wake import WakeSignal

if TYPE_CHECKING:
    from dj_queue.store.mysql import MySQLSession

# Often enough that the server never thinks that the leader fell silent.
_BEAT_SECONDS = 2.0
# A waiter that dies is noticed by the server when its wait is over, and is a connection in use until then.
_WAIT_SECONDS = 15
# Beyond which an answer that did not come is one that never will.
_GRACE_SECONDS = 5.0

# The server ended the statement: MariaDB's and MySQL's limits of its time, and KILL QUERY.
_INTERRUPTED = frozenset((1969, 3024, 1317))

# Seconds for an answer; a statement on a connection that was cut would otherwise wait for 15 minutes.
_READ_TIMEOUT_SECONDS = 30

_LEAD = """
    INSERT INTO dj_queue_leaderships (backend_alias, role, process_name, pid, hostname, incarnation, term,
        since, progress_at, expires_at)
    VALUES (%s, %s, %s, %s, %s, '', 1, %s, %s, NULL)
    ON DUPLICATE KEY UPDATE
        process_name = VALUES(process_name), pid = VALUES(pid), hostname = VALUES(hostname),
        incarnation = '', term = term + 1, since = VALUES(since), progress_at = VALUES(progress_at),
        expires_at = NULL
"""
_MINE = "backend_alias = %s AND role = %s AND process_name = %s AND term = %s"
_TERM = "SELECT term FROM dj_queue_leaderships WHERE backend_alias = %s AND role = %s"
_PROGRESS = f"UPDATE dj_queue_leaderships SET progress_at = %s WHERE {_MINE}"
_END = f"UPDATE dj_queue_leaderships SET expires_at = %s WHERE {_MINE}"


class MySQLLock(LeaderLock):
    """`GET_LOCK` on the connection of a session."""

    beat_seconds = _BEAT_SECONDS

    def __init__(
        self, session: "MySQLSession", backend_alias: str, role: str, holder: Holder
    ) -> None:
        super().__init__(backend_alias, role, holder)
        self._session = session
        self._name = ""
        self._was_granted = False
        session.set_read_timeout(_READ_TIMEOUT_SECONDS)

    def wait(self, wake: WakeSignal) -> None:
        with self._session.driver() as driver:
            driver.send_query(self._get_lock(_WAIT_SECONDS).encode())
            if not self._is_answered(driver, wake):
                # The question stands; only without the connection is it taken back.
                self._session.close()
                return
            try:
                driver.read_query_result()
                [(answer,)] = driver.store_result().fetch_row(0)
            except self._session.driver_error as error:
                if error.args[0] in _INTERRUPTED:
                    return
                raise
        self._was_granted = _is_yes(answer)

    @contextmanager
    def work(self) -> Iterator[None]:
        yield
        # Whatever was done was done on the connection that holds the lock.
        self._proved()

    def release(self) -> None:
        try:
            if self.is_held:
                self._session.execute(_END, (self._now(), *self.mine))
                self._session.execute("DO RELEASE_LOCK(%s)", (self._name,))
        finally:
            self.abandon()

    def abandon(self) -> None:
        self.term = None
        self._was_granted = False
        self._session.close()
        self._session.may_reconnect = True

    def _get_lock(self, seconds: int) -> str:
        # No parameters, because `wait` sends it past the cursor; the name is made of hexadecimal digits.
        return f"SELECT GET_LOCK('{self._name}', {seconds})"

    def _take(self) -> int | None:
        granted, self._was_granted = self._was_granted and not self._session.is_closed, False
        if not granted:
            if not self._name:
                [(database,)] = self._session.execute("SELECT DATABASE()")
                self._name = lock_name(database, self.backend_alias, self.role)
            [(answer,)] = self._session.execute(self._get_lock(0))
            if not _is_yes(answer):
                return None
        self._session.may_reconnect = False
        self._session.execute(f"SET SESSION wait_timeout = {int(SILENCE_SECONDS)}")
        now = self._now()
        self._session.execute(_LEAD, (self.backend_alias, self.role, *self.holder, now, now))
        [(term,)] = self._session.execute(_TERM, (self.backend_alias, self.role))
        return int(term)

    def _prove(self, *, tells_progress: bool) -> None:
        if tells_progress:
            if not self._session.execute_update(_PROGRESS, (self._now(), *self.mine)):
                raise LockLost("another process has written that it leads")
            return
        [(is_ours,)] = self._session.execute(
            "SELECT IS_USED_LOCK(%s) = CONNECTION_ID()", (self._name,)
        )
        if not _is_yes(is_ours):
            raise LockLost("another connection has the lock")

    def _now(self) -> datetime | None:
        """The database's clock, as its columns have it."""
        [(moment,)] = self._session.execute(CLOCK)
        return to_column(moment.replace(tzinfo=UTC))

    def _is_answered(self, driver: Any, wake: WakeSignal) -> bool:
        deadline = time.monotonic() + _WAIT_SECONDS + _GRACE_SECONDS
        with selectors.DefaultSelector() as waiting:
            waiting.register(wake.fileno(), selectors.EVENT_READ)
            waiting.register(driver.fileno(), selectors.EVENT_READ)
            while not wake.is_set and (left := deadline - time.monotonic()) > 0:
                ready = {key.fd for key, _ in waiting.select(left)}
                if driver.fileno() in ready:
                    return True
        if wake.is_set:
            return False
        raise OperationalError("the server does not answer a question for a lock")


def lock_name(database: str, backend_alias: str, role: str) -> str:
    """The name of a role's lock: at most 64 characters, and the same for whoever uses *database*."""
    about = f"{database}.dj_queue_leaderships:{backend_alias}:{role}"
    return f"dj_queue.{hashlib.sha256(about.encode()).hexdigest()[:40]}"


def _is_yes(answer: Any) -> bool:
    # Past a cursor the driver hands out bytes.
    return answer is not None and int(answer) == 1
