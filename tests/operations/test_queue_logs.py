"""What people do to queues and jobs is in the log: one sentence each, with fields, once it is true."""

import logging

import pytest
from django.db import transaction

from dj_queue import events
from dj_queue.api import QueueInfo
from dj_queue.models import Job
from dj_queue.operations import jobs
from tests.site import limited_tasks
from tests.site.tasks import noop


@pytest.fixture
def records(caplog):
    caplog.set_level(logging.INFO, logger="dj_queue")
    return lambda: [
        (record.levelname, record.event, record.getMessage())
        for record in caplog.records
        if record.event.startswith(("queue.", "job.retr", "job.disc", "retention."))
    ]


def test_a_pause_and_its_end(records):
    QueueInfo("mail").pause()
    QueueInfo("mail").resume()

    assert records() == [
        ("INFO", "queue.paused", "Queue mail of backend default is paused."),
        ("INFO", "queue.resumed", "Queue mail of backend default is not paused any more."),
    ]


def test_retries_and_discards_name_their_jobs(records, make_failed, caplog):
    first, second = make_failed(2)
    caplog.clear()

    jobs.retry_failed_job(first)
    jobs.discard_failed_jobs()

    assert records() == [
        ("INFO", "job.retried", "1 failed jobs of backend default are tried again."),
        ("INFO", "job.discarded", "1 failed jobs of backend default were discarded."),
    ]
    assert [record.djq_job_ids for record in caplog.records] == [[str(first.pk)], [str(second.pk)]]


def test_nothing_is_said_of_what_was_taken_back(records):
    noop.enqueue()

    with transaction.atomic():
        jobs.discard_ready_jobs()
        QueueInfo("mail").pause()
        transaction.set_rollback(True)

    assert records() == []


def test_a_job_that_got_its_slot_is_told_with_its_key(caplog):
    for _ in range(2):
        limited_tasks.one.enqueue()
    (waiting,) = Job.objects.blocked()
    caplog.set_level(logging.DEBUG, logger="dj_queue.job")

    jobs.discard_ready_jobs()

    (record,) = [each for each in caplog.records if each.event == "job.unblocked"]
    assert record.dj_queue["job_id"] == str(waiting.pk)
    assert record.dj_queue["concurrency_key"] == waiting.concurrency_key


def test_a_lost_process_is_told_with_what_became_of_its_jobs(caplog):
    events.emit(events.ProcessRecovered("default", "worker@host", "some.Error", 1, 2, 3))

    (record,) = caplog.records
    assert (record.levelname, record.event) == ("WARNING", "process.pruned")
    assert {name: record.dj_queue[name] for name in ("released", "requeued", "failed")} == {
        "released": 1,
        "requeued": 2,
        "failed": 3,
    }


def test_refusals_are_warnings_and_retention_counts(records):
    events.emit(events.RetriesRefused("default", 1, ()))
    events.emit(events.OldJobsCleared("default", 3, 2, 1))

    (refused, cleared) = records()
    assert refused[:2] == ("WARNING", "job.retry_refused")
    assert cleared[1:] == (
        "retention.cleared",
        "Cleared what backend default had kept long enough: 3 finished jobs, 2 failed jobs, "
        "1 records of recurring tasks.",
    )
