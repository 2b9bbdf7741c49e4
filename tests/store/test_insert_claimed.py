"""A job may be written as claimed at once, and is then like one that was ready and claimed."""

import pytest
from django.db import IntegrityError

from dj_queue.ids import new_token
from dj_queue.models import ClaimedExecution, Job, Pause, ReadyExecution
from dj_queue.states import Executor, JobState
from dj_queue.store.records import ClaimedJob
from tests.store.building import (
    NO_ROOM,
    claim,
    database_clock,
    ids,
    new_job,
    status,
    stored,
    succeeded,
)

TOKEN = new_token()


@pytest.fixture
def write(store, claimer):
    """Writes a job as claimed by the claimer's process."""
    return lambda job, backend="default": store.insert_claimed(
        backend, job, process_id=claimer.process_id, token=TOKEN
    )


def test_job_is_claimed_by_the_process_that_wrote_it(write, claimer):
    job, before = new_job("mail", priority=3, executor=Executor.ASYNC), database_clock()

    inserted = write(job)

    row, held = stored(job), ClaimedExecution.objects.get(job_id=job.id)
    assert inserted.is_claimed
    assert (row.queue_name, row.priority, row.executor) == ("mail", 3, Executor.ASYNC)
    assert (row.status, row.backend_alias) == (JobState.CLAIMED, "default")
    assert (held.process_id, held.token) == (claimer.process_id, TOKEN)
    assert before <= inserted.created_at <= database_clock()
    assert row.created_at == held.created_at == held.started_at == inserted.created_at
    assert not ReadyExecution.objects.exists()


def test_job_that_is_written_as_claimed_is_claimed_by_nobody_else(write, session, claimer):
    write(new_job())

    assert claim(session, claimer) == []


def test_outcome_is_recorded_under_the_token_it_was_written_with(write, session, claimer):
    job = new_job()
    created_at = write(job).created_at
    claimed = ClaimedJob(
        job.id, TOKEN, job.task_path, "default", 0, 0, {}, created_at, None, None, None, None
    )

    answer = session.exchange(claimer, [succeeded(claimed, 1)], NO_ROOM)

    assert list(answer.rejected) == []
    assert (status(job), stored(job).return_value) == (JobState.FINISHED, 1)


def test_claim_can_be_released_and_claimed_again(write, session, claimer):
    job = new_job()
    write(job)

    assert session.release(session.claims_of(claimer.process_id)) == 1
    assert ids(claim(session, claimer)) == [job.id]


def test_job_of_a_paused_queue_is_ready_instead(write):
    Pause.objects.create(queue_name="mail")
    job = new_job("mail", priority=3, executor=Executor.ASYNC)

    inserted = write(job)

    row = ReadyExecution.objects.get(job_id=job.id)
    assert not inserted.is_claimed
    assert status(job) is JobState.READY
    assert (row.queue_name, row.priority, row.executor) == ("mail", 3, Executor.ASYNC)
    assert row.created_at == inserted.created_at
    assert not ClaimedExecution.objects.exists()


@pytest.mark.parametrize(("backend", "queue"), [("other", "mail"), ("default", "other")])
def test_pause_of_another_queue_or_backend_does_not_matter(write, backend, queue):
    Pause.objects.create(backend_alias=backend, queue_name=queue)

    assert write(new_job("mail")).is_claimed


def test_job_that_cannot_be_written_leaves_nothing(write):
    job = new_job()
    write(job)
    Job.objects.filter(pk=job.id).update(task_path="first")

    with pytest.raises(IntegrityError):
        write(job)

    assert stored(job).task_path == "first"
    assert ClaimedExecution.objects.count() == 1
