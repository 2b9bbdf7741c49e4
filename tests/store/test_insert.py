"""Jobs are written all or none, in order, by the database's clock, and in the caller's transaction."""

import json
from datetime import timedelta, timezone

import pytest
from django.db import Error, IntegrityError, transaction

from dj_queue.models import Job, ReadyExecution, ScheduledExecution
from dj_queue.states import DispatchOutcome, Executor, JobState
from dj_queue.store.base import ROWS_PER_STATEMENT
from tests.store.building import claim, database_clock, ids, insert, new_job, status, stored

READY, SCHEDULED = DispatchOutcome.READY, DispatchOutcome.SCHEDULED


def test_inserted_job_has_all_that_was_given(store):
    job = new_job("mail", priority=7, executor=Executor.ASYNC, args=["é", {"n": 1.5}])

    inserted = store.insert("other", [job])

    row = stored(job)
    assert (row.task_path, row.queue_name, row.priority) == (job.task_path, "mail", 7)
    assert (row.backend_alias, row.executor) == ("other", Executor.ASYNC)
    assert row.payload == {"args": ["é", {"n": 1.5}], "kwargs": {}}
    assert row.created_at == row.updated_at == inserted.created_at
    assert (row.finished_at, row.started_at, row.worker_ids, row.errors) == (None,) * 4


def test_ready_row_repeats_what_a_claim_is_chosen_by(store):
    job = new_job("mail", priority=-3, executor=Executor.ASYNC)

    inserted = store.insert("other", [job])

    row = ReadyExecution.objects.get(job_id=job.id)
    assert (row.backend_alias, row.queue_name, row.priority) == ("other", "mail", -3)
    assert (row.executor, row.created_at) == (Executor.ASYNC, inserted.created_at)


def test_job_with_a_time_to_come_is_scheduled(store):
    job = new_job("mail", priority=5, run_after=database_clock() + timedelta(minutes=5))

    inserted = store.insert("default", [job])

    row = ScheduledExecution.objects.get(job_id=job.id)
    assert inserted.outcomes == [SCHEDULED] or tuple(inserted.outcomes) == (SCHEDULED,)
    assert status(job) is JobState.SCHEDULED
    assert (row.queue_name, row.priority, row.scheduled_at) == ("mail", 5, job.run_after)


def test_job_whose_time_has_come_is_ready_and_keeps_its_time(store):
    job = new_job(run_after=database_clock() - timedelta(seconds=1))

    inserted = store.insert("default", [job])

    assert list(inserted.outcomes) == [READY]
    assert status(job) is JobState.READY
    assert stored(job).scheduled_at == job.run_after


def test_time_in_another_time_zone_is_the_same_moment(store):
    zone = timezone(timedelta(hours=-9))
    moment = (database_clock() + timedelta(minutes=5)).astimezone(zone)
    job = new_job(run_after=moment)

    inserted = store.insert("default", [job])

    assert list(inserted.outcomes) == [SCHEDULED]
    assert stored(job).scheduled_at == moment


def test_outcomes_stand_in_the_order_of_the_jobs(store):
    now = database_clock()
    past, future = now - timedelta(hours=1), now + timedelta(hours=1)
    jobs = [new_job(run_after=each) for each in (None, future, past, future, None)]

    inserted = store.insert("default", jobs)

    assert list(inserted.outcomes) == [READY, SCHEDULED, READY, SCHEDULED, READY]
    assert [status(job) for job in jobs] == list(inserted.outcomes)


def test_created_at_is_the_time_of_the_call(store):
    before = database_clock()

    inserted = store.insert("default", [new_job()])

    assert before <= inserted.created_at <= database_clock()


def test_created_at_is_the_time_of_the_call_in_an_old_transaction(store):
    with transaction.atomic():
        store.insert("default", [new_job()])
        before = database_clock()
        inserted = store.insert("default", [new_job()])

    assert before <= inserted.created_at <= database_clock()


def test_jobs_of_one_call_share_their_time_however_many_they_are(store):
    jobs = [new_job() for _ in range(ROWS_PER_STATEMENT + 1)]

    inserted = store.insert("default", jobs)

    assert len(inserted.outcomes) == len(jobs)
    assert set(Job.objects.values_list("created_at", flat=True)) == {inserted.created_at}


def test_ready_jobs_keep_the_order_in_which_they_are_given(store, session, claimer):
    jobs = [new_job() for _ in range(2 * ROWS_PER_STATEMENT + 10)]
    # Not the order of the keys.
    jobs = jobs[::2] + jobs[1::2]

    store.insert("default", jobs)

    assert ids(claim(session, claimer, len(jobs))) == ids(jobs)


def test_one_job_that_cannot_be_written_keeps_all_others_out(store):
    jobs = [new_job() for _ in range(3)]
    jobs.append(new_job(id=jobs[0].id))

    with pytest.raises(IntegrityError):
        store.insert("default", jobs)

    assert not Job.objects.exists()
    assert not ReadyExecution.objects.exists()


def test_one_job_that_cannot_be_written_keeps_earlier_statements_out(store):
    jobs = [new_job() for _ in range(ROWS_PER_STATEMENT + 1)]
    jobs.append(new_job(id=jobs[0].id))

    with pytest.raises(IntegrityError), transaction.atomic():
        store.insert("default", jobs)

    assert not Job.objects.exists()
    assert not ReadyExecution.objects.exists()


def test_many_jobs_are_written_or_none_without_a_transaction_of_the_caller(store):
    jobs = [new_job() for _ in range(ROWS_PER_STATEMENT + 1)]
    jobs.append(new_job(id=jobs[0].id))

    with pytest.raises(IntegrityError):
        store.insert("default", jobs)

    assert not Job.objects.exists()


def test_priority_out_of_range_is_refused(store):
    with pytest.raises(Error):
        store.insert("default", [new_job(priority=101)])

    assert not Job.objects.exists()


def test_insert_is_taken_back_with_the_callers_transaction(store):
    with transaction.atomic():
        insert(store, new_job(), new_job(run_after=database_clock() + timedelta(hours=1)))
        transaction.set_rollback(True)

    assert not Job.objects.exists()
    assert not ReadyExecution.objects.exists()
    assert not ScheduledExecution.objects.exists()


def test_callers_transaction_goes_on_after_an_insert_that_it_guarded(store):
    with transaction.atomic():
        [kept] = insert(store, new_job())
        with pytest.raises(IntegrityError), transaction.atomic():
            insert(store, new_job(id=kept.id))

    assert list(Job.objects.values_list("id", flat=True)) == [kept.id]


def test_job_can_be_claimed_when_the_callers_transaction_commits_and_not_before(
    store, session, claimer, in_threads
):
    # SQLite has one writer: what a claim sees meanwhile is what an idle look sees.
    with transaction.atomic():
        [job] = insert(store, new_job())
        [seen_before] = in_threads(lambda: claim(session, claimer))

    assert seen_before == []
    assert ids(claim(session, claimer)) == [job.id]


@pytest.mark.parametrize(
    "argument",
    [
        "Grüße 😀  \\ ' \" % %s \x7f\n\t",
        {"deep": [[[{"a": [1, 2.5, None, True]}]]]},
        [0, -1, 2**63 - 1, -(2**63), 1.5e-9, 0.1, -0.5],
        {"": "", " ": " ", "a.b$[0]": {}},
        "x" * 300_000,
    ],
    ids=["text", "nested", "numbers", "keys", "large"],
)
def test_arguments_come_back_from_a_claim_as_they_were_given(store, session, claimer, argument):
    insert(store, new_job(args=[argument]))

    [job] = claim(session, claimer)

    assert job.payload == {"args": [argument], "kwargs": {}}


def test_many_large_jobs_are_written_together(store, session, claimer):
    text = "\"é'\\" * 5_000
    jobs = insert(store, *[new_job(args=[text, number]) for number in range(400)])

    claimed = claim(session, claimer)

    assert [job.payload["args"] for job in claimed] == [[text, number] for number in range(400)]
    assert ids(claimed) == ids(jobs)


def test_payload_is_stored_as_json_and_not_as_text(store):
    job = new_job(args=[1])

    insert(store, job)

    assert Job.objects.filter(payload__args__0=1).count() == 1
    assert stored(job).payload == json.loads(job.payload)


def test_threads_that_insert_at_once_all_succeed(store, in_threads):
    def insert_some():
        for _ in range(10):
            insert(store, new_job(), new_job())

    in_threads(*[insert_some] * 4)

    assert Job.objects.count() == ReadyExecution.objects.count() == 80


def test_jobs_of_several_statements_are_told_of_in_order_and_once(store):
    due = database_clock() + timedelta(minutes=5)
    jobs = [
        new_job(run_after=due if number % 3 else None)
        for number in range(2 * ROWS_PER_STATEMENT + 10)
    ]
    told = []

    inserted = store.insert("default", jobs, lambda _, outcomes: told.extend(outcomes))

    wanted = [SCHEDULED if job.run_after else READY for job in jobs]
    assert list(inserted.outcomes) == wanted
    # Those that it says nothing of are in the answer.
    assert told in ([], wanted)
    assert set(ScheduledExecution.objects.values_list("job_id", flat=True)) == {
        job.id for job in jobs if job.run_after
    }
    assert list(ReadyExecution.objects.order_by("id").values_list("job_id", flat=True)) == [
        job.id for job in jobs if not job.run_after
    ]
    assert set(Job.objects.values_list("created_at", flat=True)) == {inserted.created_at}


@pytest.mark.parametrize("in_transaction", [False, True])
def test_connection_can_be_used_after_a_later_statement_failed(store, in_transaction):
    jobs = [new_job() for _ in range(3 * ROWS_PER_STATEMENT)]
    jobs[-1] = jobs[ROWS_PER_STATEMENT + 5]

    if in_transaction:
        with transaction.atomic():
            with pytest.raises(Error):
                store.insert("default", jobs)
            insert(store, kept := new_job())
    else:
        with pytest.raises(Error):
            store.insert("default", jobs)
        insert(store, kept := new_job())

    assert list(Job.objects.values_list("id", flat=True)) == [kept.id]
    assert list(ReadyExecution.objects.values_list("job_id", flat=True)) == [kept.id]
