"""A claim takes the best ready jobs there is room for, hands over all that is needed, and takes each once."""

from datetime import timedelta

import pytest
from django.db import connection

from dj_queue.models import ClaimedExecution, ReadyExecution
from dj_queue.states import PROCESS_LANES, THREAD_LANES, Executor, JobState
from dj_queue.store.records import Room
from tests.store.building import (
    NO_ROOM,
    PLENTY,
    claim,
    database_clock,
    ids,
    insert,
    new_job,
    status,
    stored,
)


def test_higher_priority_goes_first_and_then_the_order_of_arrival(store, session, claimer):
    low, first, high, second, highest = insert(
        store, *[new_job(priority=each) for each in (-5, 0, 50, 0, 100)]
    )

    claimed = claim(session, claimer)

    assert ids(claimed) == ids([highest, high, first, second, low])


def test_no_more_jobs_are_claimed_than_there_is_room_for(store, session, claimer):
    jobs = insert(store, *[new_job() for _ in range(5)])

    claimed = claim(session, claimer, 3)

    assert ids(claimed) == ids(jobs[:3])
    assert [status(job) for job in jobs] == [JobState.CLAIMED] * 3 + [JobState.READY] * 2


def test_claims_in_turn_take_each_job_once(store, session, claimer):
    jobs = insert(store, *[new_job() for _ in range(10)])

    batches = [ids(claim(session, claimer, 4)) for _ in range(4)]

    assert batches == [ids(jobs[:4]), ids(jobs[4:8]), ids(jobs[8:]), []]


def test_claimed_job_carries_all_that_running_it_takes(store, session, claimer):
    run_after = database_clock() - timedelta(hours=1)
    job = new_job("mail", priority=9, executor=Executor.ASYNC, args=["é"], run_after=run_after)
    inserted = store.insert("default", [job])

    [claimed] = claim(session, claimer)

    assert (claimed.id, claimed.task_path) == (job.id, job.task_path)
    assert (claimed.queue_name, claimed.priority) == ("mail", 9)
    assert claimed.executor == Executor.ASYNC
    assert claimed.payload == {"args": ["é"], "kwargs": {}}
    assert (claimed.created_at, claimed.scheduled_at) == (inserted.created_at, run_after)
    assert (claimed.worker_ids, claimed.errors, claimed.first_started_at) == (None, None, None)


def test_times_of_a_claimed_job_are_aware(store, session, claimer):
    insert(store, new_job(run_after=database_clock() - timedelta(hours=1)))

    [claimed] = claim(session, claimer)

    assert claimed.created_at.utcoffset() == claimed.scheduled_at.utcoffset() == timedelta(0)


def test_claim_leaves_a_row_with_its_token_process_and_time(store, session, claimer):
    insert(store, new_job())
    before = database_clock()

    [claimed] = claim(session, claimer)

    row = ClaimedExecution.objects.get(job_id=claimed.id)
    assert (row.token, row.process_id) == (claimed.token, claimer.process_id)
    assert before <= row.started_at == row.created_at <= database_clock()
    assert not ReadyExecution.objects.exists()


def test_answer_has_the_clock_of_the_database(store, session, claimer):
    insert(store, new_job())
    before = database_clock()

    with_job = session.exchange(claimer, (), PLENTY).now
    without_job = session.exchange(claimer, (), PLENTY).now

    assert before <= with_job <= without_job <= database_clock()


def test_tokens_of_two_claims_differ(store, session, claimer):
    insert(store, new_job(), new_job())

    [first], [second] = claim(session, claimer, 1), claim(session, claimer, 1)

    assert first.token != second.token
    assert 0 not in (first.token, second.token)


def test_claim_of_nothing_is_empty(session, claimer):
    answer = session.exchange(claimer, (), PLENTY)

    assert (list(answer.rejected), list(answer.claimed)) == ([], [])


def test_exchange_of_nothing_for_no_room_changes_nothing(store, session, claimer):
    [job] = insert(store, new_job())

    answer = session.exchange(claimer, (), NO_ROOM)

    assert (list(answer.rejected), list(answer.claimed)) == ([], [])
    assert status(job) is JobState.READY


def test_jobs_of_another_backend_are_not_claimed(store, session, claimer):
    insert(store, new_job(), backend="other")

    assert claim(session, claimer) == []


def test_room_for_threads_takes_only_jobs_for_threads(store, session, claimer):
    thread, _ = insert(store, new_job(), new_job(executor=Executor.ASYNC))

    claimed = claim(session, claimer, Room(5, 0))

    assert ids(claimed) == [thread.id]


def test_room_on_the_event_loop_takes_only_jobs_for_it(store, session, claimer):
    _, task = insert(store, new_job(), new_job(executor=Executor.ASYNC))

    claimed = claim(session, claimer, Room(0, 5))

    assert ids(claimed) == [task.id]


def test_both_executors_are_filled_in_one_claim(store, session, claimer):
    threads = insert(store, *[new_job() for _ in range(4)])
    tasks = insert(store, *[new_job(executor=Executor.ASYNC) for _ in range(4)])

    claimed = claim(session, claimer, Room(2, 3))

    for_threads = [job for job in claimed if job.executor == Executor.THREAD]
    for_loop = [job for job in claimed if job.executor == Executor.ASYNC]
    assert ids(for_threads) == ids(threads[:2])
    assert ids(for_loop) == ids(tasks[:3])


def test_backlog_of_one_executor_does_not_keep_the_other_waiting(store, session, claimer):
    insert(store, *[new_job(priority=100) for _ in range(50)])
    [task] = insert(store, new_job(executor=Executor.ASYNC, priority=-100))

    assert ids(claim(session, claimer, Room(1, 1)))[-1:] == [task.id]


@pytest.mark.parametrize(
    ("lanes", "served"),
    [
        (THREAD_LANES, set(Executor) - {Executor.PROCESS}),
        (PROCESS_LANES, {Executor.THREAD, Executor.ASYNC, Executor.PROCESS}),
    ],
    ids=["threads", "processes"],
)
@pytest.mark.parametrize("queues", [["*"], ["default"], ["d*"]], ids=",".join)
def test_a_claim_takes_what_its_lanes_can_run(store, session, make_claimer, lanes, served, queues):
    insert(store, *[new_job(executor=executor) for executor in Executor])

    claimed = claim(session, make_claimer(queues, lanes=lanes))

    assert {job.executor for job in claimed} == served


@pytest.mark.parametrize("queues", [["*"], ["default"], ["other", "d*"]], ids=",".join)
def test_executors_of_a_lane_share_its_room_by_priority_and_age(
    store, session, make_claimer, queues
):
    jobs = insert(
        store,
        new_job(executor=Executor.PROCESS),
        new_job(executor=Executor.THREAD),
        new_job(executor=Executor.ASYNC, priority=5),
        new_job(executor=Executor.PROCESS, priority=1),
        new_job(executor=Executor.ONLY_THREAD, priority=9),
    )
    claimer = make_claimer(queues, lanes=PROCESS_LANES)

    first, second = claim(session, claimer, 3), claim(session, claimer, 3)

    assert ids(first) == [jobs[2].id, jobs[3].id, jobs[0].id]
    assert ids(second) == [jobs[1].id]


def test_ready_row_without_its_job_harms_nobody(store, session, claimer):
    orphan, job = insert(store, new_job(priority=1), new_job())
    stored(orphan)._meta.model.objects.filter(pk=orphan.id)._raw_delete("default")

    claimed = [*claim(session, claimer, 1), *claim(session, claimer, 1)]

    assert ids(claimed) == [job.id]
    assert not ReadyExecution.objects.exists()


def test_claim_without_skip_locked_takes_the_same_jobs(store, session, make_claimer):
    first, second = insert(store, new_job(), new_job(priority=1))

    claimed = claim(session, make_claimer(use_skip_locked=False))

    assert ids(claimed) == [second.id, first.id]


def test_ready_row_without_its_job_becomes_no_claim(store, session, claimer):
    gone, there = insert(store, new_job(), new_job())
    with connection.cursor() as cursor:
        # Past Django, which would take the ready row with it.
        cursor.execute(
            "DELETE FROM dj_queue_jobs WHERE id = %s",
            [gone.id if connection.features.has_native_uuid_field else gone.id.hex],
        )

    claimed = claim(session, claimer)

    assert [job.id for job in claimed] == [there.id]
    assert ClaimedExecution.objects.get().job_id == there.id
    assert not ReadyExecution.objects.exists()
