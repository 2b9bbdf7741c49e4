"""What is kept of a statement for its next run goes with the connection and with an error."""

import pytest
from django.db import IntegrityError, connection

from dj_queue.models import Job
from tests.store.building import claim, insert, new_job


@pytest.fixture
def used(store):
    # The first is for finding out whether the statement may be prepared, the second is kept.
    store.insert("default", [new_job()])
    store.insert("default", [new_job()])
    return store


def test_after_a_statement_that_failed_the_next_one_works(used):
    used.insert("default", [first := new_job()])
    with pytest.raises(IntegrityError):
        used.insert("default", [first])

    used.insert("default", [second := new_job()])

    assert Job.objects.filter(pk__in=[first.id, second.id]).count() == 2


def test_a_new_connection_is_used_when_the_old_one_was_closed(used):
    connection.close()

    used.insert("default", [job := new_job()])

    assert Job.objects.filter(pk=job.id).exists()


def test_jobs_of_one_connection_keep_what_is_theirs(store):
    jobs = [new_job(f"q{n}", args=[n]) for n in range(4)]

    for job in jobs:
        store.insert("default", [job])

    stored = {row.id: (row.payload["args"], row.queue_name) for row in Job.objects.all()}
    assert stored == {job.id: ([n], f"q{n}") for n, job in enumerate(jobs)}


def test_claims_one_after_the_other_get_a_job_each(store, session, claimer):
    jobs = [new_job(priority=-n) for n in range(4)]
    insert(store, *jobs)

    claimed = [claim(session, claimer, 1) for _ in jobs]

    assert [[job.id for job in each] for each in claimed] == [[job.id] for job in jobs]
    assert claim(session, claimer, 1) == []
