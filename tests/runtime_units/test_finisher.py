"""Outcomes on their way to the database, with a real one that refuses some."""

from dataclasses import replace

import pytest

from dj_queue.ids import new_token
from dj_queue.runtime.finisher import Finisher
from dj_queue.states import Executor
from dj_queue.store.records import Room
from tests.store.building import claim, insert, new_job, status, stored, succeeded
from tests.store.conftest import (  # noqa: F401 - fixtures for this file too
    claimer,
    make_claimer,
    open_session,
    session,
    store,
)


@pytest.fixture
def finisher():
    return Finisher()


@pytest.fixture
def refused(store, session, claimer):  # noqa: F811
    """An outcome that the database cannot store."""
    insert(store, new_job())
    (job,) = claim(session, claimer)
    outcome = succeeded(job)
    outcome.result = "this is not JSON"
    return outcome


def test_a_refused_outcome_fails_its_job_and_says_why(finisher, session, claimer, refused):  # noqa: F811
    finisher.add(refused)
    outcomes, answer = finisher.exchange(session, claimer, Room(0, 0))

    assert outcomes == (refused,)
    assert not answer.rejected
    assert not len(finisher)
    assert status(refused.job) == "failed"
    assert "could not be stored" in stored(refused.job).failed_execution.message


def test_the_others_of_its_batch_are_written(finisher, store, session, claimer, refused):  # noqa: F811
    insert(store, new_job(), new_job())
    good = [succeeded(job) for job in claim(session, claimer)]
    for outcome in (good[0], refused, good[1]):
        finisher.add(outcome)
    finisher.exchange(session, claimer, Room(0, 0))

    assert [status(outcome.job) for outcome in good] == ["finished", "finished"]


def test_what_was_asked_for_in_the_same_breath_is_claimed(
    finisher,
    store,  # noqa: F811
    session,  # noqa: F811
    claimer,  # noqa: F811
    refused,
):
    jobs = insert(store, new_job(), new_job(executor=Executor.ASYNC))
    finisher.add(refused)
    _, answer = finisher.exchange(session, claimer, Room(5, 5))

    assert {job.id for job in answer.claimed} == {job.id for job in jobs}


def test_it_knows_whose_outcomes_wait(finisher, refused):
    assert finisher.job_ids() == set()

    finisher.add(refused)

    assert finisher.job_ids() == {refused.job.id}


def test_a_job_that_ended_twice_is_not_written_twice_at_once(finisher, store, session, claimer):  # noqa: F811
    insert(store, new_job(), new_job())
    job, other = claim(session, claimer)
    taken_away = succeeded(replace(job, token=new_token()), "taken away")
    for outcome in (taken_away, succeeded(other), succeeded(job, "ours")):
        finisher.add(outcome)

    first, answer = finisher.exchange(session, claimer, Room(0, 0))
    second, other_answer = finisher.exchange(session, claimer, Room(0, 0))

    assert [each.job for each in first] == [taken_away.job, other]
    assert list(answer.rejected) == [job.id]
    assert [each.job for each in second] == [job]
    assert list(other_answer.rejected) == []
    assert stored(job).return_value == "ours"
