"""What happens inside the transactions of a MySQL session: claims end, outcomes are kept, jobs are claimed.

Every function takes the cursor of a transaction that is open. Rows are locked in this order: claims or
scheduled rows, jobs, failures, semaphores, blocked rows, ready rows.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from dj_queue.ids import new_token
from dj_queue.states import Executor
from dj_queue.store import mysql_sql as sql
from dj_queue.store.base import ROWS_PER_STATEMENT
from dj_queue.store.mysql_queues import Look
from dj_queue.store.records import Claim, ClaimedJob, Claimer, Outcome, Room, Said
from dj_queue.store.shared import (
    batches,
    claimed_job,
    errors_text,
    from_column,
    said_of,
    seconds,
    to_column,
    worker_ids_text,
)
from dj_queue.store.transactions import RowsMoved

CHARACTERS_PER_STATEMENT = 2 * 1024 * 1024
"""MariaDB takes 16 MiB in one statement by default; a character may take four bytes there."""


def insert_rows(cursor: Any, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert *rows* with one statement; none if there are none."""
    if rows:
        cursor.execute(sql.with_rows(statement, len(rows)), rows)


def clock(cursor: Any) -> datetime:
    """The database's clock."""
    cursor.execute(sql.CLOCK)
    moment: datetime = cursor.fetchone()[0]
    return moment.replace(tzinfo=UTC)


class NextDue(NamedTuple):
    """What a dispatcher wants to know of a moment."""

    now: datetime
    scheduled: float | None
    """Seconds until the next job is due; None when there is none."""
    retry: float | None
    """Seconds until the next retry."""
    has_blocked: bool


def next_due(cursor: Any, backend_alias: str) -> NextDue:
    """What is due next of the jobs of a backend, and whether any job waits for a slot."""
    cursor.execute(sql.NEXT_DUE, (backend_alias, backend_alias))
    moment, scheduled_at, retry_at, has_blocked = cursor.fetchone()
    now = moment.replace(tzinfo=UTC)
    return NextDue(
        now,
        seconds(now, from_column(scheduled_at)),
        seconds(now, from_column(retry_at)),
        bool(has_blocked),
    )


def free_executors(claimer: Claimer, room: Room) -> list[int]:
    """The executors for which there is room."""
    return [int(executor) for lane, free in _lanes(claimer, room) if free > 0 for executor in lane]


def _lanes(claimer: Claimer, room: Room) -> tuple[tuple[tuple[Executor, ...], int], ...]:
    """The executors of each lane of *claimer*, with the room that they share."""
    return (claimer.lanes.pool, room.threads), (claimer.lanes.loop, room.tasks)


def end_claims(cursor: Any, claims: Sequence[Claim]) -> dict[Claim, int]:
    """Delete those of *claims* that are still there; the keys that their rows had."""
    cursor.execute(sql.CLAIMS, ([claim.id.hex for claim in claims],))
    found = {Claim(UUID(hex=row[1]), row[2]): row[0] for row in cursor.fetchall()}
    held = {claim: found[claim] for claim in claims if claim in found}
    if held:
        cursor.execute(sql.END_CLAIMS, (json.dumps(list(held.values())),))
        if cursor.rowcount != len(held):
            raise RowsMoved("claims were taken away while their outcomes were being recorded")
    return held


def finish(cursor: Any, claimer: Claimer, outcomes: Sequence[Outcome]) -> list[UUID]:
    """Record *outcomes*; the jobs whose claim is not ours any more."""
    held = end_claims(cursor, [outcome.job.claim for outcome in outcomes])
    # In one order for all sessions, so that two that write about the same jobs do not deadlock.
    ours = sorted(
        (outcome for outcome in outcomes if outcome.job.claim in held),
        key=lambda outcome: outcome.job.id,
    )
    _record_failed(cursor, claimer, [outcome for outcome in ours if outcome.error is not None])
    _record_done(cursor, claimer, [outcome for outcome in ours if outcome.error is None])
    return [outcome.job.id for outcome in outcomes if outcome.job.claim not in held]


def _record_done(cursor: Any, claimer: Claimer, outcomes: Sequence[Outcome]) -> None:
    if outcomes and not claimer.preserve_finished_jobs:
        ids = [outcome.job.id.hex for outcome in outcomes]
        cursor.execute(sql.LET_GO, (ids,))
        cursor.execute(sql.DELETE_JOBS, (_job_ids(ids),))
        return
    rows = [{**_attempt(claimer, outcome), "result": outcome.result} for outcome in outcomes]
    for document in _documents(rows):
        cursor.execute(sql.KEEP_JOBS, (document,))


def _record_failed(cursor: Any, claimer: Claimer, outcomes: Sequence[Outcome]) -> None:
    histories = [
        {**_attempt(claimer, outcome), "errors": errors_text(outcome)} for outcome in outcomes
    ]
    for document in _documents(histories):
        cursor.execute(sql.FAIL_JOBS, (document,))
    failures = [
        {**_attempt(claimer, outcome), **outcome.error._asdict()}
        for outcome in outcomes
        if outcome.error is not None
    ]
    for document in _documents(failures):
        cursor.execute(sql.INSERT_FAILED, (document,))


def _attempt(claimer: Claimer, outcome: Outcome) -> dict[str, str | None]:
    return {
        "id": outcome.job.id.hex,
        "started_at": str(to_column(outcome.started_at)),
        "finished_at": str(to_column(outcome.finished_at)),
        "worker_ids": worker_ids_text(claimer, outcome),
    }


def _job_ids(ids: Iterable[str]) -> str:
    return json.dumps([{"id": job_id} for job_id in ids])


def _documents(rows: Sequence[Mapping[str, str | None]]) -> Iterator[str]:
    """*rows* as JSON, in as many documents as statements should be made of them."""
    texts = [json.dumps(row) for row in rows]
    for batch in batches(
        texts, len, most_items=ROWS_PER_STATEMENT, most_weight=CHARACTERS_PER_STATEMENT
    ):
        yield f"[{','.join(batch)}]"


def promote(
    cursor: Any, backend_alias: str, now: datetime, limit: int
) -> tuple[Sequence[Any], list[Said]]:
    """Make due jobs ready, or blocked if they have a concurrency key; their rows, and what those say."""
    moment = to_column(now)
    cursor.execute(sql.DUE, (backend_alias, moment, limit))
    due = cursor.fetchall()
    if not due:
        return due, []
    cursor.execute(sql.REMOVE_SCHEDULED, (json.dumps([row[0] for row in due]),))
    free = [row for row in due if row[6] is None]
    insert_rows(cursor, sql.INSERT_READY, [(*row[1:6], moment) for row in free])
    if len(free) == len(due):
        return due, []
    limited = _job_ids(row[1].replace("-", "") for row in due if row[6] is not None)
    cursor.execute(sql.INSERT_BLOCKED, (moment, moment, limited))
    cursor.execute(sql.LIMITS, (limited,))
    said = [said_of(row) for row in cursor.fetchall()]
    return due, said


def pick(cursor: Any, claimer: Claimer, room: Room, look: Look) -> tuple[datetime, list[Any]]:
    """Lock the ready rows to claim: selector by selector, the best of each first; and the clock then."""
    now, picked = look.now, []
    # The executors of a lane share one count.
    counts = [(lane, [free]) for lane, free in _lanes(claimer, room)]
    free = {int(executor): count for lane, count in counts for executor in lane}
    for names in look.choices:
        parts = [
            (claimer.backend_alias, *(() if name is None else (name,)), executor, left)
            for executor, (left,) in free.items()
            if left > 0
            for name in names or (None,)
        ]
        if not parts:
            break
        cursor.execute(
            sql.pick(len(parts), by_queue=names is not None, skips_locked=claimer.use_skip_locked),
            [value for part in parts for value in part],
        )
        # The best rows of each queue are locked, and the best of those are taken.
        for row in sorted(cursor.fetchall(), key=lambda row: (-row[2], row[0])):
            now = row[4].replace(tzinfo=UTC)
            if free[row[3]][0] > 0:
                free[row[3]][0] -= 1
                picked.append(row)
    return now, picked


def claim(cursor: Any, claimer: Claimer, picked: Sequence[Any], now: datetime) -> list[ClaimedJob]:
    """Turn *picked* ready rows into claims; the jobs, those that still exist."""
    if not picked:
        return []
    token, moment = new_token(), to_column(now)
    cursor.execute(sql.REMOVE_READY, (json.dumps([row[0] for row in picked]),))
    cursor.execute(sql.JOBS, (_job_ids(row[1].replace("-", "") for row in picked),))
    jobs = {row[0]: row for row in cursor.fetchall()}
    there = [row[1] for row in picked if row[1] in jobs]
    claims = [(job_id, claimer.process_id, token, moment, moment) for job_id in there]
    insert_rows(cursor, sql.INSERT_CLAIMS, claims)
    return [claimed_job(token, jobs[job_id]) for job_id in there]
