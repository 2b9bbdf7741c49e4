"""PostgreSQL: an advisory lock of the leader's session, and a word each second that it lives.

Followers do not block in `pg_advisory_lock`: a statement that waits has a snapshot, and for as long as any
snapshot is there no dead row of the whole database can be cleared away. (20000 dead ready rows cost each
look 1.3 ms then, before and after a VACUUM; 0.2 ms without the snapshot.) They do not ask each second
either. The leader, which has to send something anyway so that the server does not take it for stopped,
sends a notification; followers listen, send nothing, and try the lock when it was silent for too long.
Nothing depends on these notifications but how soon a follower tries.

Behind a transaction pooler there is no session to hold a lock and nobody to listen. The row is a lease there,
and all who look at it do so under a lock of their transaction, which is in the way of session locks too.
"""

import random
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, LiteralString

from django.db import Error

from dj_queue.exceptions import LockLost
from dj_queue.store.base import Topic
from dj_queue.store.locks import SILENCE_SECONDS, Holder, LeaderLock
from dj_queue.store.postgres_voices import voices_of
from dj_queue.store.wake import WakeSignal

if TYPE_CHECKING:
    from dj_queue.store.postgres_session import PostgresSession

_BEAT_SECONDS = 1.0
# Silence after which a follower tries the lock; a leader that was killed is replaced within two seconds.
_PATIENCE_SECONDS = (1.25, 1.45)
# How often a follower that nobody can wake looks.
_POLL_SECONDS = 1.0

# Behind a pooler. Renewed early enough that a web process held up for a second or two keeps it.
_LEASE_SECONDS = 5.0
_LEASE_BEAT_SECONDS = 1.5

# The first half of every key: the first bytes of SHA-256 of "dj_queue". Advisory locks are the database's,
# so the second half has the schema in it; not the alias of DATABASES, which each project chooses.
_SPACE = 2129932651

_KEY: LiteralString = """
    key AS MATERIALIZED (
        SELECT ('x' || left(encode(sha256(convert_to(
            relnamespace::regnamespace || '.dj_queue_leaderships:' || %s, 'UTF8')), 'hex'), 8)
        )::bit(32)::integer AS number
        FROM pg_class WHERE oid = 'dj_queue_leaderships'::regclass
    )
"""
_TRY: LiteralString = f"""
    WITH {_KEY} SELECT number, pg_try_advisory_lock({_SPACE}, number) FROM key
"""

# A leader that stops inside of a transaction lets go of it too.
_TRY_IN_TRANSACTION: LiteralString = f"""
    WITH {_KEY}
    SELECT number, pg_try_advisory_xact_lock({_SPACE}, number),
        set_config('idle_in_transaction_session_timeout', '{int(SILENCE_SECONDS)}s', true)
    FROM key
"""

_UNLOCK: LiteralString = f"SELECT pg_advisory_unlock({_SPACE}, %s::integer)"

# The clock is read once: a term's beginning is its first progress, and a lease is as long as it says.
_LEAD: LiteralString = """
    INSERT INTO dj_queue_leaderships (backend_alias, role, process_name, pid, hostname, incarnation, term,
        since, progress_at, expires_at)
    SELECT %s, %s, %s, %s, %s, '', 1, now, now, now + %s::float8 * interval '1 second'
    FROM (SELECT clock_timestamp() AS now) AS clock
    ON CONFLICT (backend_alias, role) DO UPDATE SET
        process_name = excluded.process_name, pid = excluded.pid, hostname = excluded.hostname,
        incarnation = '', term = dj_queue_leaderships.term + 1, since = excluded.since,
        progress_at = excluded.progress_at, expires_at = excluded.expires_at
    RETURNING term
"""

# Our own lease, which we abandoned, is free for us.
_IS_FREE: LiteralString = """
    SELECT NOT EXISTS (
        SELECT FROM dj_queue_leaderships
        WHERE backend_alias = %s AND role = %s AND process_name <> %s AND expires_at > clock_timestamp()
    )
"""

_PROGRESS: LiteralString = """
    UPDATE dj_queue_leaderships SET progress_at = clock_timestamp()
    WHERE backend_alias = %s AND role = %s AND process_name = %s AND term = %s
    RETURNING term
"""

# A notification is a transaction with a number, which would wait for the disk; this one need not.
_SAY: LiteralString = f"""
    SELECT set_config('synchronous_commit', 'off', true), pg_notify('{Topic.LEADER.value}', word)
    FROM unnest(%s::text[]) AS word
"""

_RENEW: LiteralString = """
    UPDATE dj_queue_leaderships SET progress_at = now,
        expires_at = now + %s::float8 * interval '1 second'
    FROM (SELECT clock_timestamp() AS now) AS clock
    WHERE backend_alias = %s AND role = %s AND process_name = %s AND term = %s
    RETURNING term
"""

_STILL_LEADS: LiteralString = """
    SELECT term FROM dj_queue_leaderships
    WHERE backend_alias = %s AND role = %s AND process_name = %s AND term = %s
"""

_END: LiteralString = """
    UPDATE dj_queue_leaderships SET expires_at = clock_timestamp()
    WHERE backend_alias = %s AND role = %s AND process_name = %s AND term = %s
    RETURNING term
"""

# The server gives up a leader that was stopped (idle), cut off (TCP), or killed in a long statement.
_LEADER_SETTINGS: LiteralString = f"""
    SET idle_session_timeout = '{int(SILENCE_SECONDS)}s';
    SET idle_in_transaction_session_timeout = '{int(SILENCE_SECONDS)}s';
    SET tcp_user_timeout = '{int(SILENCE_SECONDS)}s';
    SET tcp_keepalives_idle = 3;
    SET tcp_keepalives_interval = 1;
    SET tcp_keepalives_count = 2
"""
# Refused by servers on systems that cannot tell.
_LEADER_CHECK: LiteralString = "SET client_connection_check_interval = '500ms'"

# Our own end of a cut connection: without it a statement waits for its answer for a quarter of an hour.
_CONNECTION_PARAMETERS = {"tcp_user_timeout": int(SILENCE_SECONDS * 1000)}


class PostgresLock(LeaderLock):
    """An advisory lock of the session, or behind a pooler a lease and a lock of each transaction."""

    beat_seconds = _BEAT_SECONDS

    def __init__(
        self, session: "PostgresSession", backend_alias: str, role: str, holder: Holder
    ) -> None:
        super().__init__(backend_alias, role, holder)
        self._session = session
        self._number = 0
        self._is_lease = False
        self._voices = voices_of(session.database_alias)
        session.connection_parameters = _CONNECTION_PARAMETERS
        # A follower need not hear of each job that is scheduled.
        self._topics_of_leader = session.topics
        self._topics_of_follower = (Topic.LEADER,) if session.topics else ()
        session.listen_to(self._topics_of_follower)

    def wait(self, wake: WakeSignal) -> None:
        if not self._session.is_woken_by_database:
            self._session.wait(wake, _POLL_SECONDS)
            return
        # Spread, so that not all followers try in the same moment.
        patience = random.uniform(*_PATIENCE_SECONDS)  # noqa: S311
        until = time.monotonic() + patience
        while not wake.is_set and (left := until - time.monotonic()) > 0:
            self._session.wait(wake, left)
            news = self._session.take_news()
            if self._word("released") in news:
                return
            if self._word("lives") in news:
                until = time.monotonic() + patience

    def work(self) -> AbstractContextManager[None]:
        return self._work_on_lease() if self._is_lease else nullcontext()

    def release(self) -> None:
        try:
            if self.is_held:
                self._session.run(_END, self.mine)
            if self.is_held and not self._is_lease:
                # Closing would do, but the word must come after the lock is free.
                self._session.run(_UNLOCK, (self._number,))
                self._session.run(_SAY, ([self._word("released")],))
        finally:
            self.abandon()

    def abandon(self) -> None:
        self.term = None
        self._voices.leave(self)
        self._session.close()
        self._session.may_reconnect = True
        self._session.listen_to(self._topics_of_follower)

    @property
    def _name(self) -> str:
        return f"{self.backend_alias}:{self.role}"

    def _word(self, word: str) -> str:
        return f"{self._number} {word}"

    def _take(self) -> int | None:
        self._is_lease = self._session.is_behind_pooler()
        self.beat_seconds = _LEASE_BEAT_SECONDS if self._is_lease else _BEAT_SECONDS
        return self._take_lease() if self._is_lease else self._take_lock()

    def _take_lock(self) -> int | None:
        [(self._number, is_ours)] = self._session.run(_TRY, (self._name,))
        if not is_ours:
            return None
        self._session.may_reconnect = False
        self._session.execute_all(_LEADER_SETTINGS)
        try:
            self._session.execute_all(_LEADER_CHECK)
        except Error:
            if self._session.is_closed:
                raise
        term = self._lead(None)
        self._session.listen_to(self._topics_of_leader)
        # Those who wait for the last leader to fall silent need not try.
        self._speak()
        return term

    def _take_lease(self) -> int | None:
        if not self._is_free():
            return None
        with self._session.transaction():
            is_alone = self._session.run(_TRY_IN_TRANSACTION, (self._name,))[0][1]
            # Again: somebody may have taken it before the lock was ours.
            return self._lead(_LEASE_SECONDS) if is_alone and self._is_free() else None

    def _is_free(self) -> bool:
        parameters = (self.backend_alias, self.role, self.holder.process_name)
        return bool(self._session.run(_IS_FREE, parameters)[0][0])

    def _lead(self, seconds: float | None) -> int:
        parameters = (self.backend_alias, self.role, *self.holder, seconds)
        return int(self._session.run(_LEAD, parameters)[0][0])

    def _prove(self, *, tells_progress: bool) -> None:
        if self._is_lease:
            with self._work_on_lease():
                return
        if tells_progress and not self._session.run(_PROGRESS, self.mine):
            raise LockLost("another process has written that it leads")
        # A little longer than between two beats, because threads are never quite on time.
        if tells_progress or not self._voices.may_keep_still(self, 1.1 * self.beat_seconds):
            self._speak()

    def _speak(self) -> None:
        words = self._voices.words(self, self._word("lives"))
        self._session.run(_SAY, (words,))
        self._voices.has_spoken(self)

    @contextmanager
    def _work_on_lease(self) -> Iterator[None]:
        with self._session.transaction():
            if not self._session.run(_TRY_IN_TRANSACTION, (self._name,))[0][1]:
                raise LockLost("another process has the lock")
            if time.monotonic() < self._next_beat:
                is_ours = self._session.run(_STILL_LEADS, self.mine)
            else:
                is_ours = self._session.run(_RENEW, (_LEASE_SECONDS, *self.mine))
                self._proved()
            if not is_ours:
                raise LockLost("another process has taken the lease")
            yield
