"""Jobs that have not begun go back to the front, as if they had never been claimed."""

from dj_queue.ids import new_job_id, new_token
from dj_queue.models import ClaimedExecution, Job, ReadyExecution
from dj_queue.states import Executor, JobState
from dj_queue.store.records import Claim
from tests.store.building import PLENTY, claim, ids, insert, new_job, status, stored


def claims(jobs):
    return [job.claim for job in jobs]


def test_released_job_is_ready_as_it_was_before(store, session, claimer):
    insert(store, new_job("mail", priority=4, executor=Executor.ASYNC))
    [job] = claim(session, claimer)
    before = Job.objects.values().get(pk=job.id)

    released = session.release([job.claim])

    row = ReadyExecution.objects.get(job_id=job.id)
    assert released == 1
    assert (row.backend_alias, row.queue_name) == ("default", "mail")
    assert (row.priority, row.executor) == (4, Executor.ASYNC)
    assert Job.objects.values().get(pk=job.id) == before
    assert not ClaimedExecution.objects.exists()


def test_released_jobs_stand_before_those_that_waited_behind_them(store, session, claimer):
    jobs = insert(store, *[new_job() for _ in range(6)])
    claimed = claim(session, claimer, 3)

    released = session.release(claims(claimed))

    assert released == 3
    assert ids(claim(session, claimer)) == ids(jobs)


def test_released_jobs_keep_their_order_whatever_order_they_are_given_in(store, session, claimer):
    jobs = insert(store, *[new_job() for _ in range(5)])
    first, second, third, fourth, fifth = claim(session, claimer)

    session.release(claims([third, fifth, first, fourth, second]))

    assert ids(claim(session, claimer)) == ids(jobs)


def test_released_job_does_not_pass_a_higher_priority(store, session, claimer):
    [low] = insert(store, new_job())
    claimed = claim(session, claimer)
    [high] = insert(store, new_job(priority=1))

    session.release(claims(claimed))

    assert ids(claim(session, claimer)) == [high.id, low.id]


def test_jobs_released_one_by_one_all_stand_before_the_others(store, session, claimer):
    jobs = insert(store, *[new_job() for _ in range(6)])
    claimed = claim(session, claimer, 3)

    for job in reversed(claimed):
        session.release([job.claim])

    assert ids(claim(session, claimer)) == ids(jobs)


def test_job_that_arrives_after_a_release_stands_behind(store, session, claimer):
    insert(store, new_job())
    released = claim(session, claimer)
    session.release(claims(released))
    [later] = insert(store, new_job())

    assert ids(claim(session, claimer)) == [*ids(released), later.id]


def test_job_can_be_released_again_and_again(store, session, claimer):
    jobs = insert(store, new_job(), new_job(), new_job())

    tokens = set()
    for _ in range(4):
        claimed = claim(session, claimer, 2)
        tokens |= {job.token for job in claimed}
        session.release(claims(claimed))

    assert len(tokens) == 4
    assert ids(claim(session, claimer)) == ids(jobs)


def test_released_job_counts_no_attempt(store, session, claimer):
    insert(store, new_job())
    session.release(claims(claim(session, claimer)))

    [again] = claim(session, claimer)

    assert (again.worker_ids, again.errors, again.first_started_at) == (None, None, None)


def test_claim_with_a_stale_token_is_passed_over(store, session, claimer):
    insert(store, new_job(), new_job())
    stale, held = claim(session, claimer)

    released = session.release([Claim(stale.id, new_token()), held.claim])

    assert released == 1
    assert (status(stale), status(held)) == (JobState.CLAIMED, JobState.READY)


def test_release_of_what_nobody_holds_changes_nothing(store, session, claimer):
    insert(store, new_job())
    [job] = claim(session, claimer)
    session.release([job.claim])

    released = session.release([job.claim, Claim(new_job_id(), new_token())])

    assert released == 0
    assert ReadyExecution.objects.count() == 1


def test_release_of_nothing_is_nothing(session):
    assert session.release([]) == 0


def test_claim_of_a_deleted_job_goes_without_a_ready_row(store, session, claimer):
    insert(store, new_job(), new_job())
    deleted, other = claim(session, claimer)
    Job.objects.filter(pk=deleted.id)._raw_delete("default")

    session.release(claims([deleted, other]))

    assert ids(claim(session, claimer)) == [other.id]
    assert ClaimedExecution.objects.count() == 1


def test_claims_of_a_process_are_those_and_no_others(store, session, make_claimer):
    mine, others = make_claimer(name="mine"), make_claimer(name="other")
    insert(store, *[new_job() for _ in range(5)])
    held = claim(session, mine, 3)
    claim(session, others, 2)

    assert sorted(session.claims_of(mine.process_id)) == sorted(claims(held))


def test_process_without_claims_has_none(session, claimer):
    assert session.claims_of(claimer.process_id) == []


def test_claims_that_an_answer_was_lost_of_can_be_released(store, session, claimer):
    [job] = insert(store, new_job())
    session.exchange(claimer, (), PLENTY)

    assert session.release(session.claims_of(claimer.process_id)) == 1
    assert stored(job).status is JobState.READY
