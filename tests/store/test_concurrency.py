"""Sessions that work at the same time never share a job and never lose one."""

import threading
from dataclasses import replace
from functools import partial
from itertools import chain

import pytest

from dj_queue.ids import new_token
from dj_queue.models import ClaimedExecution, FailedExecution, Job, ReadyExecution
from dj_queue.store.records import Room
from tests.store.building import NO_ROOM, claim, failed, ids, insert, new_job, succeeded

SESSIONS = 4


def drain(session, claimer, room):
    """Claim until there is nothing left; the ids."""
    taken = []
    while batch := claim(session, claimer, room):
        taken += ids(batch)
    return taken


@pytest.mark.parametrize("selectors", [["*"], ["q1", "q2"], ["q*"], ["q2", "*"]], ids=",".join)
def test_sessions_that_claim_at_once_take_each_job_once(
    store, open_session, make_claimer, in_threads, selectors
):
    jobs = insert(store, *[new_job(f"q{n % 2 + 1}", priority=n % 3) for n in range(200)])
    sessions = [open_session() for _ in range(SESSIONS)]
    claimer = make_claimer(selectors)

    taken = in_threads(*[partial(drain, each, claimer, 7) for each in sessions])

    assert sorted(chain(*taken)) == sorted(ids(jobs))
    assert ClaimedExecution.objects.count() == 200


def test_sessions_without_skip_locked_take_each_job_once(
    store, open_session, make_claimer, in_threads
):
    jobs = insert(store, *[new_job() for _ in range(60)])
    sessions = [open_session() for _ in range(SESSIONS)]
    claimer = make_claimer(use_skip_locked=False)

    taken = in_threads(*[partial(drain, each, claimer, 5) for each in sessions])

    taken += [drain(sessions[0], claimer, 5)]
    assert sorted(chain(*taken)) == sorted(ids(jobs))


def test_jobs_are_enqueued_claimed_finished_and_released_at_once(
    store, open_session, claimer, in_threads
):
    expected = 3 * 60
    enqueued = threading.Event()

    def enqueue():
        for _ in range(20):
            insert(store, *[new_job() for _ in range(3)])

    def enqueue_last():
        enqueue()
        enqueued.set()

    def work(session):
        """Fails every fifth job, releases every seventh once, finishes the others."""
        finished, outcomes, released = 0, [], set()
        while True:
            is_last = enqueued.is_set()
            answer = session.exchange(claimer, outcomes, Room(8, 0))
            assert list(answer.rejected) == []
            finished += len(outcomes)
            if not outcomes and not answer.claimed and is_last:
                return finished
            back = [job for job in answer.claimed if job.id.int % 7 == 0 and job.id not in released]
            released |= set(ids(back))
            assert session.release([job.claim for job in back]) == len(back)
            outcomes = [
                (failed if job.id.int % 5 == 0 else succeeded)(job)
                for job in answer.claimed
                if job not in back
            ]

    in_threads(
        enqueue,
        enqueue,
        *[partial(work, open_session()) for _ in range(3)],
        enqueue_last,
    )

    left = claim(session := open_session(), claimer)
    session.exchange(claimer, [succeeded(job) for job in left], NO_ROOM)
    assert Job.objects.finished().count() + FailedExecution.objects.count() == expected
    assert not ReadyExecution.objects.exists()
    assert not ClaimedExecution.objects.exists()


def test_of_two_that_record_the_same_claim_at_once_one_is_rejected(
    store, open_session, session, claimer, in_threads
):
    insert(store, *[new_job() for _ in range(40)])
    jobs = claim(session, claimer)

    def record(each, outcome):
        rejected = []
        for first in range(0, 40, 10):
            outcomes = [outcome(job) for job in jobs[first : first + 10]]
            rejected += each.exchange(claimer, outcomes, NO_ROOM).rejected
        return rejected

    rejected = in_threads(
        partial(record, open_session(), succeeded),
        partial(record, open_session(), failed),
        partial(record, open_session(), lambda job: succeeded(job, "again")),
    )

    assert len(list(chain(*rejected))) == 80
    assert Job.objects.finished().count() + FailedExecution.objects.count() == 40


def test_job_released_while_its_outcome_is_recorded_is_one_or_the_other(
    store, open_session, session, claimer, in_threads
):
    insert(store, *[new_job() for _ in range(30)])
    jobs = claim(session, claimer)
    first, second = open_session(), open_session()

    def release():
        return sum(first.release([job.claim]) for job in jobs)

    def record():
        return sum(
            not second.exchange(claimer, [succeeded(job)], NO_ROOM).rejected
            for job in reversed(jobs)
        )

    released, finished = in_threads(release, record)

    assert released + finished == 30
    assert ReadyExecution.objects.count() == released
    assert Job.objects.finished().count() == finished


def test_jobs_released_by_several_sessions_at_once_are_all_ready(
    store, open_session, claimer, in_threads
):
    insert(store, *[new_job() for _ in range(40)])
    sessions = [open_session() for _ in range(SESSIONS)]

    def claim_and_release(session):
        for _ in range(10):
            session.release([job.claim for job in claim(session, claimer, 5)])

    in_threads(*[partial(claim_and_release, each) for each in sessions])

    assert ReadyExecution.objects.count() == 40
    assert not ClaimedExecution.objects.exists()


def test_stale_outcomes_at_once_with_real_ones_change_nothing(
    store, open_session, session, claimer, in_threads
):
    insert(store, *[new_job() for _ in range(20)])
    jobs = claim(session, claimer)
    stale = [succeeded(replace(job, token=new_token())) for job in jobs]
    first, second = open_session(), open_session()

    rejected = in_threads(
        lambda: first.exchange(claimer, stale, NO_ROOM).rejected,
        lambda: second.exchange(claimer, [succeeded(job, 1) for job in jobs], NO_ROOM).rejected,
    )

    assert [len(each) for each in rejected] == [20, 0]
    assert set(Job.objects.values_list("return_value", flat=True)) == {1}
