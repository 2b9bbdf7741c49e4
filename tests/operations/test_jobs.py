"""`dj_queue.operations.jobs`: stored jobs in the hands of scripts."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.tasks import TaskResultStatus
from django.utils import timezone

from dj_queue import api, events
from dj_queue.config import BACKEND_PATH, backend_config
from dj_queue.exceptions import EnqueueError, NotClaimed, ReturnValueError
from dj_queue.ids import new_job_id
from dj_queue.models import (
    ClaimedExecution,
    FailedExecution,
    Job,
    Process,
    ReadyExecution,
    ScheduledExecution,
)
from dj_queue.operations import jobs
from dj_queue.runtime.recovery import Recovery
from dj_queue.runtime.scripts import script_of, stop_scripts
from dj_queue.runtime.supervisor import Supervisor
from dj_queue.store import store_for
from tests.contrib.servers import ROOT, environment
from tests.site.runtime_tasks import exit_now
from tests.site.tasks import add, async_sleep, noop, tell_and_hang
from tests.waiting import wait_until

LATER = timedelta(hours=1)


@pytest.fixture(autouse=True)
def scripts() -> Iterator[None]:
    yield
    stop_scripts()


def test_jobs_are_enqueued_with_word_of_where_they_went():
    job, outcome = jobs.enqueue_job_with_dispatch(add, [1], {"b": 2})
    later, waits = jobs.enqueue_job_with_dispatch(noop.using(run_after=timezone.now() + LATER))

    assert (job.payload["args"], job.payload["kwargs"]) == ([1], {"b": 2})
    assert (outcome, waits) == ("ready", "scheduled")
    assert (job.status, later.status) == ("ready", "scheduled")
    assert jobs.enqueue_job(noop).ready


def test_an_enqueue_may_choose_an_id_that_begins_with_the_time():
    first, second = new_job_id(), new_job_id()

    assert jobs.enqueue_job(add, (1, 2), job_id=first).id == first
    assert jobs.enqueue_job(add, (1, 2), job_id=str(second)).id == second

    with pytest.raises(IntegrityError), transaction.atomic():
        jobs.enqueue_job(add, (1, 2), job_id=first)
    with pytest.raises(EnqueueError, match=r"expected a UUID of version 7.*of version 4"):
        jobs.enqueue_job(add, (1, 2), job_id=uuid4())
    with pytest.raises(EnqueueError, match="job_id: expected a job or the id of one, found 'x'"):
        jobs.enqueue_job(add, (1, 2), job_id="x")
    assert Job.objects.count() == 2


def test_bulk_keeps_the_order_and_costs_the_same(count_statements):
    counts = []
    for size in (10, 100):
        with count_statements() as statements:
            written = jobs.enqueue_jobs_bulk([(add, (n, n), {}) for n in range(size)])
        counts.append(len(statements))
        assert [job.payload["args"][0] for job, _, _ in written] == list(range(size))
        assert {outcome for _, _, outcome in written} == {"ready"}

    if connection.vendor == "postgresql":
        assert counts[0] == counts[1] <= 4


def test_due_jobs_are_promoted_in_the_order_of_their_times(worker):
    ids = [
        noop.using(run_after=timezone.now() + LATER - timedelta(minutes=n)).enqueue().id
        for n in range(3)
    ]
    for n, job_id in enumerate(ids):
        ScheduledExecution.objects.filter(job_id=job_id).update(
            scheduled_at=timezone.now() - timedelta(minutes=n)
        )

    assert [str(job.pk) for job in jobs.promote_scheduled_jobs(batch_size=2)] == [ids[2], ids[1]]
    assert len(jobs.promote_scheduled_jobs(batch_size=2)) == 1
    assert [str(job.id) for job in worker.claim(3)] == [ids[2], ids[1], ids[0]]


def test_a_scheduled_job_starts_when_somebody_says_so():
    result = noop.using(run_after=timezone.now() + LATER).enqueue()

    job, outcome = jobs.dispatch_scheduled_job_now(result.id)

    assert (str(job.pk), outcome, job.status) == (result.id, "ready", "ready")
    with pytest.raises(EnqueueError, match="is not scheduled on backend 'default'"):
        jobs.dispatch_scheduled_job_now(result.id)


def test_a_script_claims_and_executes():
    result = add.enqueue(1, 2)

    (claimed,) = api.claim_ready_jobs(limit=5)
    assert (str(claimed.id), claimed.queue_name) == (result.id, "default")
    assert claimed.job.status == "claimed"
    assert Process.objects.get(pk=claimed.process_id).name in claimed.worker_ids
    job = api.execute_claimed_job(claimed)

    result.refresh()
    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 3)
    assert (job.status, job.return_value) == ("finished", 3)
    assert result.worker_ids == claimed.worker_ids


def test_no_job_is_claimed_without_a_limit_and_no_process_is_registered():
    noop.enqueue()

    assert api.claim_ready_jobs(limit=0) == []
    assert api.claim_ready_jobs(limit=-1) == []
    assert Process.objects.count() == 0


def test_a_script_claims_from_the_queues_that_it_names():
    for name in ("mail", "mass-mail", "other"):
        noop.using(queue_name=name).enqueue()

    (first,) = jobs.claim_ready_jobs(limit=5, queues="mail")
    second = jobs.claim_ready_jobs(limit=5, queues=["ma*"])

    assert first.queue_name == "mail"
    assert [job.queue_name for job in second] == ["mass-mail"]


def test_a_job_can_be_named_by_its_id_its_text_and_its_row():
    for _ in range(3):
        noop.enqueue()
    one, two, three = jobs.claim_ready_jobs(limit=3)

    assert jobs.execute_claimed_job(one.id).finished
    assert jobs.execute_claimed_job(str(two.id)).finished
    assert jobs.execute_claimed_job(three.job).finished


def test_async_jobs_are_executed_too():
    async_sleep.enqueue(0)

    (claimed,) = jobs.claim_ready_jobs(limit=1)

    assert jobs.execute_claimed_job(claimed).finished


def test_whatever_a_task_does_its_failure_is_recorded(heard):
    told = heard(events.JobFailed)
    exit_now.enqueue()
    (claimed,) = jobs.claim_ready_jobs(limit=1)

    job = jobs.execute_claimed_job(claimed)

    assert job.status == "failed"
    assert job.failed_execution.exception_class == "builtins.SystemExit"
    assert [event.job_id for event in told] == [job.pk]


def test_a_script_may_do_the_work_itself():
    noop.enqueue()
    noop.enqueue()
    one, two = jobs.claim_ready_jobs(limit=2)

    completed = jobs.complete_claimed_job(one, {"found": 1})
    failed = jobs.fail_claimed_job(two.id, ValueError("no"), traceback_text="over there")

    assert (completed.status, completed.return_value) == ("finished", {"found": 1})
    assert failed.status == "failed"
    assert FailedExecution.objects.get().traceback == "over there"
    assert FailedExecution.objects.get().message == "no"


def test_a_result_that_cannot_be_stored_leaves_the_job_claimed():
    noop.enqueue()
    (claimed,) = jobs.claim_ready_jobs(limit=1)

    with pytest.raises(ReturnValueError):
        jobs.complete_claimed_job(claimed, object())

    assert jobs.complete_claimed_job(claimed).finished


def test_what_is_not_claimed_here_cannot_be_ended_here(worker):
    noop.enqueue()
    theirs = worker.claim_one()

    with pytest.raises(NotClaimed, match=str(theirs.id)):
        jobs.execute_claimed_job(theirs.id)
    with pytest.raises(ClaimedExecution.DoesNotExist):
        jobs.complete_claimed_job(uuid4())


def test_a_job_that_was_taken_away_is_told():
    noop.enqueue()
    (claimed,) = jobs.claim_ready_jobs(limit=1)
    ClaimedExecution.objects.update(token=1)

    with pytest.raises(NotClaimed, match="taken away"):
        jobs.complete_claimed_job(claimed)
    assert Job.objects.get().finished_at is None


def test_claims_of_a_script_are_not_taken_for_lost():
    noop.enqueue()
    (claimed,) = jobs.claim_ready_jobs(limit=1)
    config = backend_config("default")

    with store_for("default").open_session("default") as session:
        other = Recovery(config)
        other.open_journal("other", capacity=1).close(remove=True)
        other.recover_the_dead(session)
        other.prune(session)

    assert ClaimedExecution.objects.get().job_id == claimed.id
    assert jobs.execute_claimed_job(claimed).finished


def test_what_a_script_did_not_begin_is_ready_again_at_its_end():
    noop.enqueue()
    noop.enqueue()
    done, _ = jobs.claim_ready_jobs(limit=2)
    jobs.execute_claimed_job(done)

    stop_scripts()

    assert ClaimedExecution.objects.count() == 0
    assert ReadyExecution.objects.count() == 1
    assert wait_until(lambda: Process.objects.count() == 0)


def test_claims_may_belong_to_a_process_that_the_caller_keeps_alive(worker):
    noop.enqueue()
    process = Process.objects.get(pk=worker.process_id)

    (claimed,) = jobs.claim_ready_jobs(limit=1, process=process)

    assert (claimed.process_id, claimed.worker_ids) == (process.pk, [process.name])
    assert jobs.execute_claimed_job(claimed).finished


def test_the_jobs_of_a_process_can_be_failed(worker):
    noop.enqueue()
    noop.enqueue()
    held = worker.claim(2)

    failed = jobs.fail_claimed_jobs_for_process(worker.process_id)

    assert {job.pk for job in failed} == {job.id for job in held}
    assert {row.exception_class for row in FailedExecution.objects.all()} == {
        "dj_queue.exceptions.ProcessExitError"
    }
    assert ClaimedExecution.objects.count() == 0


def test_the_jobs_of_a_process_can_be_failed_by_its_number(worker):
    noop.enqueue()
    (held,) = worker.claim(1)
    row = Process.objects.get(pk=worker.process_id)

    assert jobs.fail_claimed_jobs_for_pid(row.pid, hostname="another machine") == []
    failed = jobs.fail_claimed_jobs_for_pid(row.pid, OSError("killed"), hostname=row.hostname)

    assert [job.pk for job in failed] == [held.id]
    assert FailedExecution.objects.get().exception_class == "builtins.OSError"


def test_claims_that_belong_to_nobody_can_be_failed(worker):
    noop.enqueue()
    noop.enqueue()
    held, others = worker.claim(1), jobs.claim_ready_jobs(limit=1)
    Process.objects.filter(pk=worker.process_id).delete()

    assert jobs.fail_orphaned_claimed_jobs() == []
    failed = jobs.fail_orphaned_claimed_jobs(older_than=timedelta(0))

    assert [job.pk for job in failed] == [job.id for job in held]
    assert FailedExecution.objects.get().exception_class.endswith(".ProcessMissingError")
    assert ClaimedExecution.objects.get().job_id == others[0].id


def test_silent_processes_can_be_pruned_by_hand(worker):
    noop.enqueue()
    worker.claim(1)
    assert jobs.prune_stale_processes() == []

    row = Process.objects.get(pk=worker.process_id)
    row.last_heartbeat_at -= timedelta(hours=1)
    row.save()

    assert jobs.prune_stale_processes() == [row.name]
    assert FailedExecution.objects.get().exception_class.endswith(".ProcessPrunedError")
    assert not Process.objects.filter(pk=row.pk).exists()


def test_nothing_is_claimed_inside_a_transaction():
    noop.enqueue()

    with transaction.atomic(), pytest.raises(transaction.TransactionManagementError):
        jobs.claim_ready_jobs(limit=1)

    assert ClaimedExecution.objects.count() == 0


def test_finished_jobs_go_where_they_are_not_kept(use_tasks):
    use_tasks(default={"preserve_finished_jobs": False})
    noop.enqueue()
    (claimed,) = jobs.claim_ready_jobs(limit=1)

    assert jobs.execute_claimed_job(claimed).finished
    assert Job.objects.count() == 0


def test_a_script_is_registered_once_per_backend():
    config = backend_config("default")

    assert script_of(config) is script_of(config)


def test_a_script_that_is_killed_loses_only_what_it_had_begun(tmp_path):
    """Nobody waits for a heartbeat to be missed: its journal tells that it is dead, and what had begun."""
    options = {"journal_directory": str(tmp_path)}
    begun = tell_and_hang.enqueue(str(tmp_path / "begun"))
    waiting = noop.enqueue()
    script = subprocess.Popen(
        [sys.executable, "-m", "tests.site.claiming_script"],
        env=environment(**options),
        cwd=ROOT,
    )
    try:
        wait_until((tmp_path / "begun").exists, seconds=30)
    finally:
        script.kill()
        script.wait(10)
    tasks = {"default": {"BACKEND": BACKEND_PATH, "OPTIONS": options}}
    supervisor = Supervisor.from_backend_config(tasks_settings=tasks)

    supervisor.start()
    try:
        wait_until(lambda: Job.objects.get(pk=waiting.id).finished)
        wait_until(lambda: Job.objects.get(pk=begun.id).failed)
    finally:
        supervisor.stop(5)

    assert len(Job.objects.get(pk=waiting.id).worker_ids) == 1
    failure = FailedExecution.objects.get(job_id=begun.id)
    assert failure.exception_class == "dj_queue.exceptions.ProcessExitError"
