"""An outcome is recorded by whoever shows the token of the claim, once, and by nobody else."""

from datetime import timedelta

import pytest
from django.db import DataError, IntegrityError

from dj_queue.ids import new_job_id, new_token
from dj_queue.models import (
    ClaimedExecution,
    FailedExecution,
    Job,
    ReadyExecution,
    RecurringExecution,
)
from dj_queue.states import JobState
from dj_queue.store.records import Room
from tests.store.building import (
    FINISHED,
    NO_ROOM,
    STARTED,
    claim,
    failed,
    ids,
    insert,
    new_job,
    status,
    stored,
    succeeded,
)


@pytest.fixture
def claim_new(store, session, claimer):
    """Inserts so many jobs and claims them."""

    def claim_them(count=1, **fields):
        insert(store, *[new_job(**fields) for _ in range(count)])
        return claim(session, claimer)

    return claim_them


@pytest.fixture
def record(session, claimer):
    """Records outcomes; the rejected jobs."""
    return lambda *outcomes: list(session.exchange(claimer, outcomes, NO_ROOM).rejected)


@pytest.fixture
def claim_again(session, claimer):
    """Makes a failed job ready as a retry does, and claims it."""

    def claim_it(job):
        FailedExecution.objects.filter(job_id=job.id).delete()
        ReadyExecution.objects.create(job_id=job.id)
        [claimed] = claim(session, claimer)
        return claimed

    return claim_it


def test_success_is_kept_with_its_times_worker_and_result(claim_new, record):
    [job] = claim_new()

    rejected = record(succeeded(job, {"sum": 3}))

    row = stored(job)
    assert rejected == []
    assert row.status is JobState.FINISHED
    assert (row.started_at, row.last_attempted_at) == (STARTED, STARTED)
    assert row.finished_at == row.updated_at == FINISHED
    assert (row.return_value, row.worker_ids, row.errors) == ({"sum": 3}, ["worker"], None)
    assert not ClaimedExecution.objects.exists()


def test_failure_is_kept_with_its_error_and_the_job_is_not_finished(claim_new, record):
    [job] = claim_new()

    rejected = record(failed(job, "no luck"))

    row = stored(job)
    assert rejected == []
    assert row.status is JobState.FAILED
    assert (row.finished_at, row.return_value) == (None, None)
    assert (row.started_at, row.last_attempted_at, row.updated_at) == (STARTED, STARTED, FINISHED)
    assert row.worker_ids == ["worker"]
    assert row.errors == [
        {
            "exception_class": "builtins.ValueError",
            "message": "no luck",
            "traceback": "Traceback\nValueError: no luck",
            "failed_at": FINISHED.isoformat(),
        }
    ]


def test_failure_has_a_row_with_the_newest_error(claim_new, record):
    [job] = claim_new()

    record(failed(job, "Pech 😞 \\ ' \" %s"))

    row = FailedExecution.objects.get(job_id=job.id)
    assert (row.exception_class, row.message) == ("builtins.ValueError", "Pech 😞 \\ ' \" %s")
    assert row.traceback == "Traceback\nValueError: Pech 😞 \\ ' \" %s"
    assert (row.created_at, row.retry_at) == (FINISHED, None)


def test_attempts_add_up_in_the_history_of_the_job(claim_new, claim_again, record):
    [first] = claim_new()
    record(failed(first, "one"))
    second = claim_again(first)
    record(failed(second, "two", started_at=STARTED + timedelta(hours=1)))
    third = claim_again(first)

    record(succeeded(third, "done", started_at=STARTED + timedelta(hours=2)))

    row = stored(first)
    assert row.worker_ids == ["worker"] * 3
    assert [error["message"] for error in row.errors] == ["one", "two"]
    assert (row.started_at, row.last_attempted_at) == (STARTED, STARTED + timedelta(hours=2))
    assert (row.status, row.return_value) == (JobState.FINISHED, "done")


def test_claim_of_a_later_attempt_carries_the_history(claim_new, claim_again, record):
    [first] = claim_new()
    record(failed(first, "one"))

    again = claim_again(first)

    assert again.worker_ids == ["worker"]
    assert [error["message"] for error in again.errors] == ["one"]
    assert again.first_started_at == STARTED


@pytest.mark.parametrize(
    "result",
    [
        "Grüße 😀 \\ ' \" % %s \n\t \u2028 \x1f \x1e",
        "",
        0,
        False,
        [],
        {},
        [None, True, -1, 2**63 - 1, 0.1, {"a": {"b": [[], {}, ""]}}],
        {"key with \"quotes\" and 'more'": "\\u0041 \\n"},
        "x" * 1_000_000,
    ],
    ids=lambda result: repr(result)[:20],
)
def test_result_comes_back_as_it_was_returned(claim_new, record, result):
    [job] = claim_new()

    record(succeeded(job, result))

    assert stored(job).return_value == result


def test_result_none_is_no_result(claim_new, record):
    [job] = claim_new()

    record(succeeded(job, None))

    assert Job.objects.filter(pk=job.id, return_value__isnull=True).exists()


def test_results_of_one_exchange_are_not_mixed_up(claim_new, record):
    jobs = claim_new(30)
    results = [None if n % 3 == 0 else "" if n % 3 == 1 else {"n": n} for n in range(30)]

    record(*[succeeded(job, each) for job, each in zip(jobs, results, strict=True)])

    assert [stored(job).return_value for job in jobs] == results


def test_many_large_results_are_recorded_together(claim_new, record):
    jobs = claim_new(300)

    rejected = record(*[succeeded(job, [n, 'é"\\' * 8_000]) for n, job in enumerate(jobs)])

    assert rejected == []
    assert Job.objects.finished().count() == 300
    assert stored(jobs[7]).return_value[0] == 7


def test_many_large_failures_are_recorded_together(claim_new, record):
    jobs = claim_new(100)

    rejected = record(*[failed(job, f"{n} " + "é" * 5_000) for n, job in enumerate(jobs)])

    assert rejected == []
    assert FailedExecution.objects.count() == 100
    assert stored(jobs[7]).errors[0]["message"].startswith("7 é")


def test_successes_and_failures_are_recorded_together_and_the_next_jobs_claimed(
    store, session, claimer, claim_new
):
    done, broken, running = claim_new(3)
    [waiting] = insert(store, new_job())

    answer = session.exchange(claimer, [succeeded(done), failed(broken)], Room(1, 0))

    assert list(answer.rejected) == []
    assert ids(answer.claimed) == [waiting.id]
    assert [status(job) for job in (done, broken, running, waiting)] == [
        JobState.FINISHED,
        JobState.FAILED,
        JobState.CLAIMED,
        JobState.CLAIMED,
    ]


def test_finished_job_is_deleted_where_jobs_are_not_preserved(session, make_claimer, claim_new):
    done, broken = claim_new(2)
    claimer = make_claimer(name="forgetful", preserve_finished_jobs=False)

    answer = session.exchange(claimer, [succeeded(done, 1), failed(broken)], NO_ROOM)

    assert list(answer.rejected) == []
    assert list(Job.objects.values_list("id", flat=True)) == [broken.id]
    assert not ClaimedExecution.objects.exists()


def test_recurring_job_that_is_not_preserved_leaves_the_record_of_its_firing(
    session, make_claimer, claim_new
):
    [job] = claim_new()
    RecurringExecution.objects.create(job_id=job.id, task_key="hourly", run_at=STARTED)
    claimer = make_claimer(name="forgetful", preserve_finished_jobs=False)

    session.exchange(claimer, [succeeded(job)], NO_ROOM)

    assert list(RecurringExecution.objects.values_list("task_key", "job_id")) == [("hourly", None)]
    assert not Job.objects.exists()


def test_job_whose_token_is_stale_is_not_deleted(session, make_claimer, claim_new):
    [job] = claim_new()
    job.token = new_token()
    claimer = make_claimer(name="forgetful", preserve_finished_jobs=False)

    answer = session.exchange(claimer, [succeeded(job)], NO_ROOM)

    assert list(answer.rejected) == [job.id]
    assert status(job) is JobState.CLAIMED


@pytest.mark.parametrize("outcome", [succeeded, failed])
def test_outcome_with_a_stale_token_changes_nothing_and_is_named(claim_new, record, outcome):
    [job] = claim_new()
    before = Job.objects.values().get(pk=job.id)
    job.token = new_token()

    rejected = record(outcome(job))

    assert rejected == [job.id]
    assert Job.objects.values().get(pk=job.id) == before
    assert ClaimedExecution.objects.filter(job_id=job.id).exists()
    assert not FailedExecution.objects.exists()


@pytest.mark.parametrize("outcome", [succeeded, failed])
def test_late_outcome_does_not_disturb_who_has_the_job_now(
    session, claimer, claim_new, record, outcome
):
    [late] = claim_new()
    session.release([late.claim])
    [current] = claim(session, claimer)

    rejected = record(outcome(late))

    assert rejected == [late.id]
    assert status(current) is JobState.CLAIMED
    assert record(succeeded(current)) == []


def test_token_of_one_job_is_no_proof_for_another(session, claimer, claim_new, store, record):
    [late] = claim_new()
    session.release([late.claim])
    insert(store, new_job())
    together = claim(session, claimer)
    assert late.id in ids(together)

    rejected = record(succeeded(late), *[succeeded(job) for job in together if job.id != late.id])

    assert rejected == [late.id]
    assert status(late) is JobState.CLAIMED


def test_stale_outcomes_do_not_keep_the_others_from_being_recorded(claim_new, record):
    jobs = claim_new(6)
    for job in jobs[::2]:
        job.token = new_token()

    rejected = record(*[(succeeded, failed)[n // 3](job) for n, job in enumerate(jobs)])

    assert sorted(rejected) == sorted(ids(jobs[::2]))
    assert [status(job) for job in jobs[1::2]] == [
        JobState.FINISHED,
        JobState.FAILED,
        JobState.FAILED,
    ]


def test_outcome_that_was_recorded_is_rejected_the_second_time(claim_new, record):
    [job] = claim_new()
    record(succeeded(job, "first"))

    rejected = record(failed(job))

    assert rejected == [job.id]
    assert stored(job).return_value == "first"


def test_outcome_of_an_unknown_job_is_rejected(claim_new, record):
    [job] = claim_new()
    job.id = new_job_id()

    assert record(succeeded(job)) == [job.id]


@pytest.mark.parametrize("outcome", [succeeded, failed])
def test_job_deleted_while_it_ran_does_not_keep_the_others_from_being_recorded(
    claim_new, record, outcome
):
    deleted, other = claim_new(2)
    Job.objects.filter(pk=deleted.id)._raw_delete("default")

    record(outcome(deleted), failed(other))

    assert status(other) is JobState.FAILED
    assert not ClaimedExecution.objects.exists()


def test_result_that_is_not_json_is_refused_as_a_value_and_nothing_is_recorded(claim_new, record):
    good, bad = claim_new(2)
    broken = succeeded(bad)
    broken.result = "not JSON"

    with pytest.raises((DataError, IntegrityError)):
        record(succeeded(good, 1), broken)

    assert [status(job) for job in (good, bad)] == [JobState.CLAIMED] * 2


def test_session_goes_on_after_a_refused_outcome(claim_new, record):
    good, bad = claim_new(2)
    broken = succeeded(bad)
    broken.result = "not JSON"
    with pytest.raises((DataError, IntegrityError)):
        record(succeeded(good, 1), broken)

    assert record(succeeded(good, 1)) == []
