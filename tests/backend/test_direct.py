"""A job that can start in this very process is written as claimed: when, and what if that fails."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.tasks import TaskResultStatus, default_task_backend
from django.utils import timezone

from dj_queue.ids import new_token
from dj_queue.models import ClaimedExecution, Job, Pause, ReadyExecution
from dj_queue.operations import direct, enqueue
from dj_queue.states import Executor, JobState
from dj_queue.store.records import ClaimedJob
from tests.backend.hand_worker import HandWorker
from tests.site import catalogue
from tests.site.tasks import add


class Place:
    """A place that remembers what became of it."""

    def __init__(self, process_id: int) -> None:
        self.process_id = process_id
        self.token = new_token()
        self.job: ClaimedJob | None = None
        self.given_up: list[bool] = []

    def take(self, job: ClaimedJob) -> None:
        self.job = job

    def give_up(self, *, in_doubt: bool = False) -> None:
        self.given_up.append(in_doubt)


class Host:
    """A runtime with one free place, or none."""

    def __init__(self, worker: HandWorker) -> None:
        self.place: Place | None = Place(worker.process_id)
        self.asked: list[tuple[Any, ...]] = []

    def reserve(self, *asked: Any) -> Place | None:
        self.asked.append(asked)
        return self.place


@pytest.fixture
def host(worker) -> Iterator[Host]:
    host = Host(worker)
    direct.offer(host)
    yield host
    direct.withdraw(host)


def test_a_single_job_is_written_as_claimed_and_handed_over(host):
    result = add.enqueue(1, 2)

    assert host.asked == [("default", "default", "default", Executor.THREAD)]
    claim = ClaimedExecution.objects.get()
    assert (str(claim.job_id), claim.process_id, claim.token) == (
        result.id, host.place.process_id, host.place.token,
    )  # fmt: skip
    assert Job.objects.get().status is JobState.CLAIMED
    assert not ReadyExecution.objects.exists()
    assert host.place.given_up == []


def test_the_job_that_is_handed_over_is_the_one_that_a_claim_would_give(host, make_worker):
    task = catalogue.echo_async.using(queue_name="mail", priority=7)
    task.enqueue(1, x=["é"])
    handed = host.place.job
    host.place = None
    task.enqueue(1, x=["é"])

    (claimed,) = make_worker(name="other").claim()

    for name in ("task_path", "queue_name", "priority", "executor", "payload", "scheduled_at"):
        assert getattr(handed, name) == getattr(claimed, name)
    assert handed.worker_ids is handed.errors is handed.first_started_at is None
    assert str(handed.id) != str(claimed.id)


def test_a_job_that_was_handed_over_can_be_finished(host, worker):
    result = add.enqueue(1, 2)

    worker.succeed(host.place.job, 3)

    assert default_task_backend.get_result(result.id).return_value == 3


def test_the_caller_gets_a_result_as_always(host):
    result = add.enqueue(1, 2)

    assert result.status == TaskResultStatus.READY
    assert result.enqueued_at == Job.objects.get().created_at
    assert default_task_backend.get_result(result.id).status == TaskResultStatus.RUNNING


def test_the_job_does_not_share_its_arguments_with_the_callers_result(host):
    result = catalogue.echo.enqueue([1])

    host.place.job.payload["args"][0].append(2)

    assert result.args == [[1]]


def test_it_costs_one_statement_on_postgres_too(host, count_statements, vendor):
    with count_statements() as statements:
        add.enqueue(1, 2)

    assert len(statements) <= (1 if vendor == "postgresql" else 6)


def test_a_job_inside_a_transaction_goes_the_usual_way(host):
    with transaction.atomic():
        add.enqueue(1, 2)

    assert host.asked == []
    assert ReadyExecution.objects.count() == 1


def test_a_job_in_a_transaction_managed_by_hand_goes_the_usual_way(host):
    connection.set_autocommit(False)
    try:
        Pause.objects.create(queue_name="written before")
        add.enqueue(1, 2)
        connection.commit()
    finally:
        connection.rollback()
        connection.set_autocommit(True)

    assert host.asked == []
    assert ReadyExecution.objects.count() == 1


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_job_with_a_time_goes_the_usual_way(host, hours):
    add.using(run_after=timezone.now() + timedelta(hours=hours)).enqueue(1, 2)

    assert host.asked == []
    assert not ClaimedExecution.objects.exists()


def test_several_jobs_go_the_usual_way(host):
    default_task_backend.enqueue_all([(add, (1, 2), {})] * 2)

    assert host.asked == []
    assert ReadyExecution.objects.count() == 2


def test_without_a_place_a_job_goes_the_usual_way(host):
    host.place = None

    add.enqueue(1, 2)

    assert len(host.asked) == 1
    assert ReadyExecution.objects.count() == 1


def test_a_second_runtime_is_asked_when_the_first_has_no_place(host, worker):
    second = Host(worker)
    host.place = None
    direct.offer(second)
    try:
        add.enqueue(1, 2)
    finally:
        direct.withdraw(second)

    assert second.place.job is not None


def test_a_runtime_that_withdrew_is_not_asked(host):
    direct.withdraw(host)

    add.enqueue(1, 2)

    assert host.asked == []


def test_a_job_of_a_paused_queue_waits_and_the_place_is_free_again(host):
    Pause.objects.create(queue_name="mail")

    catalogue.send_mail.enqueue("a@example.org")

    assert Job.objects.get().status is JobState.READY
    assert not ClaimedExecution.objects.exists()
    assert host.place.job is None
    assert host.place.given_up == [False]


def test_a_write_that_fails_leaves_the_place_in_doubt_and_nothing_behind(host, monkeypatch):
    host.place, kept = None, host.place
    first = add.enqueue(1, 2)
    host.place = kept
    job_id = Job.objects.get().id
    monkeypatch.setattr(enqueue, "new_job_id", lambda: job_id)

    with pytest.raises(DatabaseError):
        add.enqueue(3, 4)

    assert kept.job is None
    assert kept.given_up == [True]
    assert str(Job.objects.get().id) == first.id
    assert not ClaimedExecution.objects.exists()


def test_arguments_that_are_refused_ask_for_no_place(host):
    with pytest.raises(TypeError):
        add.enqueue(object(), 1)

    assert host.asked == []
