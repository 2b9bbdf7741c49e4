"""The statement that finishes what is done and claims what can start, put together for a worker's queues.

From one part per selector, once per worker; from then on its text is constant.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, LiteralString

from dj_queue.selectors import EVERYTHING, QueueSelection, Selector, SelectorKind
from dj_queue.states import THREAD_LANES, Lanes
from dj_queue.store import postgres_arrays as arrays
from dj_queue.store import postgres_sql as sql
from dj_queue.store.records import Claim, ClaimedJob, Claimer, Limit, Outcome, Room
from dj_queue.store.shared import error_record


def exchange(
    selection: QueueSelection,
    *,
    finishes: bool,
    claims: bool,
    preserves: bool,
    skips_locked: bool,
    lanes: Lanes = THREAD_LANES,
) -> LiteralString:
    """The statement that finishes jobs, claims jobs, or does both."""
    wanted = selection if claims else EVERYTHING
    return _exchange(wanted, finishes, claims, preserves, skips_locked, lanes)


def claimed_job(token: int, row: Sequence[Any]) -> ClaimedJob:
    """The job in a row of `exchange`, claimed under *token*."""
    job = ClaimedJob(row[2], token, *row[3:14])
    if row[14] is not None:
        job.limit = Limit(*row[14:])
    return job


@cache
def _exchange(
    selection: QueueSelection,
    finishes: bool,
    claims: bool,
    preserves: bool,
    skips_locked: bool,
    lanes: Lanes,
) -> LiteralString:
    parts: list[LiteralString] = []
    if finishes:
        parts.append(sql.FINISH + (sql.KEEP_JOB if preserves else sql.DELETE_JOB))
    if claims:
        parts.append(_claim(selection, lanes, "SKIP LOCKED" if skips_locked else ""))
    rejected: LiteralString = sql.REJECTED if finishes else "NULL::uuid[]"
    answer: LiteralString = f"SELECT {rejected}, clock_timestamp() AS now"
    if not claims:
        # Where all attempts failed and there is no room, only the clock is asked for.
        head: LiteralString = f"WITH {','.join(parts)}" if parts else ""
        return f"{head} SELECT answer.*, NULL FROM ({answer}) answer"
    return f"""
        WITH RECURSIVE {",".join(parts)}
        SELECT answer.*, job.id, job.task_path, job.queue_name, job.priority, job.executor,
            job.payload, job.created_at, job.scheduled_at, job.worker_ids, job.errors, job.started_at,
            job.trace_context, job.concurrency_key, job.concurrency_limit, job.concurrency_duration
        FROM ({answer}) answer
        LEFT JOIN (
            taken CROSS JOIN LATERAL (SELECT * FROM dj_queue_jobs WHERE id = taken.job_id LIMIT 1) job
        ) ON true
        ORDER BY taken.choice, taken.priority DESC, taken.id
    """


def claim_parameters(claimer: Claimer, room: Room, token: int) -> list[object]:
    """Parameters of the claiming part of `exchange`, in the order of its text."""
    parameters: list[object] = [claimer.backend_alias, room.threads, room.tasks]
    parameters += _names_parameters(claimer.selection)
    return [*parameters, claimer.process_id, token]


def finish_parameters(claimer: Claimer, outcomes: Sequence[Outcome]) -> list[object]:
    """Parameters of the finishing part of `exchange`, and of `FAIL`, of which no job comes twice."""
    # As the server orders ids, which it looks for by bisection.
    ordered = sorted(outcomes, key=lambda outcome: outcome.job.id.int)
    jobs = [outcome.job for outcome in ordered]
    results = [_result_or_error(outcome) for outcome in ordered]
    return [
        arrays.ids([job.id for job in jobs]),
        arrays.numbers([job.token for job in jobs]),
        arrays.microseconds([outcome.started_at for outcome in ordered]),
        arrays.microseconds([outcome.finished_at for outcome in ordered]),
        arrays.json_texts(results) if any(results) else None,
        claimer.worker_name,
    ]


def release_parameters(claims: Sequence[Claim]) -> list[object]:
    """Parameters of `RELEASE`, but for what it announces."""
    ordered = sorted(claims, key=lambda claim: claim.id.int)
    return [
        arrays.ids([each.id for each in ordered]),
        arrays.numbers([each.token for each in ordered]),
    ]


def _result_or_error(outcome: Outcome) -> str | None:
    return outcome.result if outcome.error is None else json.dumps(error_record(outcome))


# What is wanted, the pauses, and the names of the queues that have ready jobs. The names come from a
# skip scan: one descent of the index for each name, however many rows have it.
_CLAIM_HEAD: LiteralString = """
    wanted AS MATERIALIZED (SELECT %s::text AS backend_alias),
    lane (number, room) AS MATERIALIZED (VALUES (0, %s::bigint), (1, %s::bigint)),
    member (lane, executor) AS MATERIALIZED (VALUES {members}),
    paused AS MATERIALIZED (
        SELECT queue_name FROM dj_queue_pauses
        WHERE backend_alias = (SELECT backend_alias FROM wanted)
    )
"""

_NAMES: LiteralString = """,
    name (queue_name) AS (
        (
            SELECT queue_name FROM dj_queue_ready_executions
            WHERE backend_alias = (SELECT backend_alias FROM wanted) {only_if}
            ORDER BY queue_name LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT ready.queue_name FROM dj_queue_ready_executions ready
            WHERE ready.backend_alias = (SELECT backend_alias FROM wanted)
                AND ready.queue_name > name.queue_name
            ORDER BY ready.queue_name LIMIT 1
        )
        FROM name WHERE name.queue_name IS NOT NULL
    )
"""

# Rows in index order until there is room for no more: nothing is joined, counted or sorted before. The
# best of each executor of a lane, then the best of those. A few rows too many are locked, not taken.
_FROM_ALL: LiteralString = """,
    taken_0 AS (
        SELECT best.*, lane.number AS lane, 0 AS choice FROM lane CROSS JOIN LATERAL (
            SELECT picked.* FROM member CROSS JOIN LATERAL (
                SELECT id, job_id, priority, executor FROM dj_queue_ready_executions
                WHERE backend_alias = (SELECT backend_alias FROM wanted)
                    AND executor = member.executor AND NOT EXISTS (SELECT FROM paused)
                ORDER BY priority DESC, id LIMIT lane.room FOR UPDATE {locking}
            ) picked
            WHERE member.lane = lane.number
            ORDER BY picked.priority DESC, picked.id LIMIT lane.room
        ) best
    )
"""

# The best rows of each queue and executor, then the best of those.
#
# The two comparisons of pairs say no more than two equalities would, but only the index with the queue in
# it is in the order that they ask for. With equalities, a planner whose statistics know one queue finds the
# other index just as good, and reads the whole backlog of that queue to find none of another.
_FROM_NAMES: LiteralString = """,
    taken_{n} AS (
        SELECT best.*, lane.number AS lane, {n} AS choice FROM lane CROSS JOIN LATERAL (
            SELECT picked.* FROM member CROSS JOIN {names} served CROSS JOIN LATERAL (
                SELECT id, job_id, priority, executor FROM dj_queue_ready_executions
                WHERE backend_alias = (SELECT backend_alias FROM wanted)
                    AND (queue_name, executor) >= (served.queue_name, member.executor)
                    AND (queue_name, executor) <= (served.queue_name, member.executor)
                ORDER BY queue_name, executor, priority DESC, id
                LIMIT lane.room{less} FOR UPDATE {locking}
            ) picked
            WHERE member.lane = lane.number
                AND served.queue_name NOT IN (SELECT queue_name FROM paused)
            ORDER BY picked.priority DESC, picked.id LIMIT lane.room{less}
        ) best
    )
"""

# Statistics that were made while a table was nearly empty, which a queue mostly is when it is vacuumed, make
# a planner read a whole backlog instead of looking up a few keys in it. So nothing is joined to a large
# table: the keys go in as one array, and single rows come from subqueries. What was taken is locked, so all
# of it is removed.
_CLAIM_TAIL: LiteralString = """,
    taken AS MATERIALIZED ({union}),
    removed AS (
        DELETE FROM dj_queue_ready_executions WHERE id = ANY(ARRAY(SELECT id FROM taken))
    ),
    claim AS (
        INSERT INTO dj_queue_claimed_executions (job_id, process_id, token, started_at, created_at)
        SELECT job_id, %s::bigint, %s::bigint, clock_timestamp(), clock_timestamp() FROM taken
        -- A row whose job was deleted by other hands goes, and no claim comes of it.
        WHERE (SELECT true FROM dj_queue_jobs job WHERE job.id = taken.job_id)
    )
"""


def _claim(selection: QueueSelection, lanes: Lanes, locking: LiteralString) -> LiteralString:
    if selection.is_everything:
        # With no pause the names are not looked for: the skip scan's first step finds nothing.
        names = _NAMES.format(only_if="AND EXISTS (SELECT FROM paused)")
        parts = [_FROM_ALL, _FROM_NAMES.format(n=1, names="name", less="", locking="{locking}")]
    else:
        choices = _choices(selection)
        needs_names = any(each.kind is not SelectorKind.EXACT for each in choices)
        names = _NAMES.format(only_if="") if needs_names else ""
        parts = [_from_selector(n, choices) for n in range(len(choices))]
    union = " UNION ALL ".join(f"SELECT * FROM taken_{_number(part)}" for part in parts)
    members = ", ".join(
        f"({number}, {int(executor)})"
        for number, executors in enumerate(lanes)
        for executor in executors
    )
    head = _CLAIM_HEAD.format(members=members)
    text = head + names + "".join(parts).replace("{locking}", locking)
    return text + _CLAIM_TAIL.format(union=union)


def _choices(selection: QueueSelection) -> list[Selector]:
    """The selectors of *selection* without names that one before them serves: no row is taken twice."""
    return [
        each
        for n, each in enumerate(selection.selectors)
        if each.kind is not SelectorKind.EXACT
        or not any(earlier.matches(each.text) for earlier in selection.selectors[:n])
    ]


def _number(part: LiteralString) -> LiteralString:
    return part.split("taken_", 1)[1].split(" ", 1)[0]


def _from_selector(n: int, selectors: Sequence[Selector]) -> LiteralString:
    """The rows of selector *n*, as far as the selectors before it left room."""
    less: LiteralString = "".join(
        f" - (SELECT count(*) FROM taken_{earlier} WHERE lane = lane.number)"
        for earlier in range(n)
    )
    return _FROM_NAMES.format(n=n, names=_served(n, selectors), less=less, locking="{locking}")


def _served(n: int, selectors: Sequence[Selector]) -> LiteralString:
    if selectors[n].kind is SelectorKind.EXACT:
        return "(SELECT %s::text AS queue_name)"
    condition: LiteralString = "queue_name IS NOT NULL"
    if selectors[n].kind is SelectorKind.PREFIX:
        condition += " AND starts_with(queue_name, %s)"
    for earlier in selectors[:n]:
        # A row that an earlier selector took is still there in this statement's snapshot.
        condition += (
            " AND queue_name <> %s"
            if earlier.kind is SelectorKind.EXACT
            else " AND NOT starts_with(queue_name, %s)"
        )
    return f"(SELECT queue_name FROM name WHERE {condition})"


def _names_parameters(selection: QueueSelection) -> list[object]:
    parameters: list[object] = []
    choices = _choices(selection)
    for n, selector in enumerate(choices):
        if selector.kind is not SelectorKind.ALL:
            parameters.append(selector.text)
        if selector.kind is not SelectorKind.EXACT:
            parameters += [earlier.text for earlier in choices[:n]]
    return parameters
