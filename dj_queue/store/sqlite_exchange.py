"""What happens inside the transactions of an SQLite session: outcomes are kept, jobs are claimed."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from dj_queue.ids import new_token
from dj_queue.selectors import Selector, SelectorKind
from dj_queue.states import Executor
from dj_queue.store import sqlite_sql as sql
from dj_queue.store.records import ClaimedJob, Claimer, Outcome, Room, Said
from dj_queue.store.shared import (
    claimed_job,
    errors_text,
    said_of,
    to_column,
    worker_ids_text,
)


def block(database: sqlite3.Connection, job_ids: Sequence[str], now: datetime) -> list[Said]:
    """Have due jobs compete for slots; what they say of their keys."""
    said = []
    for job_id in job_ids:
        row = database.execute(sql.LIMIT, (job_id,)).fetchone()
        if row is not None:
            end = now + timedelta(seconds=row[2])
            database.execute(sql.BLOCK, (to_column(end), to_column(now), job_id))
            said.append(said_of(row))
    return said


def finish(database: sqlite3.Connection, claimer: Claimer, outcome: Outcome) -> bool:
    """Record one outcome; False when the claim is not ours any more."""
    job_id = outcome.job.id.hex
    if not database.execute(sql.END_CLAIM, (job_id, outcome.job.token)).rowcount:
        return False
    started_at, finished_at = to_column(outcome.started_at), to_column(outcome.finished_at)
    workers = worker_ids_text(claimer, outcome)
    if outcome.error is not None:
        errors = errors_text(outcome)
        database.execute(
            sql.FAIL_JOB, (finished_at, started_at, started_at, workers, errors, job_id)
        )
        database.execute(sql.INSERT_FAILED, (*outcome.error, finished_at, job_id))
    elif claimer.preserve_finished_jobs:
        database.execute(
            sql.KEEP_JOB,
            (finished_at, finished_at, started_at, started_at, outcome.result, workers, job_id),
        )
    else:
        database.execute(sql.LET_GO, (job_id,))
        database.execute(sql.DELETE_JOB, (job_id,))
    return True


def claim(
    database: sqlite3.Connection, claimer: Claimer, room: Room, now: datetime
) -> list[ClaimedJob]:
    """Turn the best ready rows into claims; the jobs, those that still exist."""
    token = new_token()
    picked = [
        *_pick(database, claimer, claimer.lanes.pool, room.threads),
        *_pick(database, claimer, claimer.lanes.loop, room.tasks),
    ]
    database.executemany(sql.REMOVE_READY, [(row[0],) for row in picked])
    rows = [database.execute(sql.JOB, (row[1],)).fetchone() for row in picked]
    # A row whose job was deleted by other hands goes, and no claim comes of it.
    jobs = [row for row in rows if row is not None]
    moment = to_column(now)
    database.executemany(
        sql.INSERT_CLAIM, [(job[0], claimer.process_id, token, moment, moment) for job in jobs]
    )
    return [claimed_job(token, job) for job in jobs]


def _pick(
    database: sqlite3.Connection, claimer: Claimer, lane: Sequence[Executor], room: int
) -> list[Any]:
    """The ready rows to claim for *lane*: selector by selector, the best of each first."""
    if room <= 0:
        return []
    backend = claimer.backend_alias
    paused = {row[0] for row in database.execute(sql.PAUSED, (backend,))}
    if claimer.selection.is_everything and not paused:
        rows = [
            row
            for executor in lane
            for row in database.execute(sql.PICK_ANY, (backend, int(executor), room))
        ]
        return sorted(rows, key=_rank)[:room]
    picked: list[Any] = []
    served = set(paused)
    for selector in claimer.selection.selectors:
        names = [name for name in _names(database, backend, selector) if name not in served]
        served.update(names)
        rows = [
            row
            for name in names
            for executor in lane
            for row in database.execute(sql.PICK_FROM_QUEUE, (backend, name, int(executor), room))
        ]
        rows.sort(key=_rank)
        picked += rows[: room - len(picked)]
        if len(picked) == room:
            break
    return picked


def _rank(row: Sequence[Any]) -> tuple[int, int]:
    return -row[2], row[0]


def _names(database: sqlite3.Connection, backend_alias: str, selector: Selector) -> list[str]:
    if selector.kind is SelectorKind.EXACT:
        return [selector.text]
    known = (row[0] for row in database.execute(sql.QUEUE_NAMES, (backend_alias, backend_alias)))
    return [name for name in known if selector.matches(name)]
