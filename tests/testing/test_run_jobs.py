"""`run_jobs` and `travel`: in a `TestCase`, whose transaction is never committed, and without one."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.tasks import TaskResultStatus
from django.test import TestCase
from django.utils import timezone

from dj_queue.api import enqueue_steps
from dj_queue.exceptions import DjQueueError
from dj_queue.models import (
    ClaimedExecution,
    FailedExecution,
    Job,
    Pause,
    ReadyExecution,
    SemaphoreHolder,
    Workflow,
)
from dj_queue.testing import run_jobs, travel
from tests.site import limited_for_testing, step_tasks
from tests.site import testing_tasks as tasks


class Jobs:
    """The same tests, inside of a transaction and outside."""

    def tearDown(self):
        tasks.ran.clear()

    def test_jobs_run_best_first_and_their_results_are_returned(self):
        for value, priority in ((1, 0), (2, 5), (3, 5)):
            tasks.note.using(priority=priority).enqueue(value)

        results = run_jobs()

        assert tasks.ran == [2, 3, 1]
        assert [result.return_value for result in results] == [2, 3, 1]
        assert all(result.status == TaskResultStatus.SUCCESSFUL for result in results)
        assert all(result.worker_ids == ["run_jobs"] for result in results)
        assert Job.objects.finished().count() == 3
        assert not ReadyExecution.objects.exists()
        assert not ClaimedExecution.objects.exists()

    def test_a_result_that_was_enqueued_can_be_refreshed(self):
        result = tasks.note.enqueue(1)

        run_jobs()
        result.refresh()

        assert result.return_value == 1
        assert result.enqueued_at <= result.started_at <= result.finished_at

    def test_async_jobs_use_the_same_connection(self):
        tasks.note_async.enqueue("x")

        (result,) = run_jobs()

        assert result.status == TaskResultStatus.SUCCESSFUL
        assert Pause.objects.filter(queue_name="async x").exists()

    def test_jobs_that_jobs_enqueue_run_too_unless_asked_otherwise(self):
        tasks.enqueue_more.enqueue(2)

        assert len(run_jobs(until_empty=False)) == 1
        assert len(run_jobs(until_empty=False)) == 2
        assert len(run_jobs()) == 2
        assert run_jobs() == []

    def test_a_job_that_enqueues_itself_is_noticed(self):
        tasks.again.enqueue()

        with pytest.raises(DjQueueError, match="more than 5 jobs; does one enqueue itself"):
            run_jobs(limit=5)

    def test_only_the_chosen_queues_are_run(self):
        for name in ("mail", "mail_late", "other"):
            tasks.note.using(queue_name=name).enqueue(name)

        run_jobs("mail*")
        assert tasks.ran == ["mail", "mail_late"]

        run_jobs(["none", "other"])
        assert tasks.ran == ["mail", "mail_late", "other"]

    def test_a_paused_queue_is_left_alone(self):
        pause = Pause.objects.create(queue_name="default")
        tasks.note.enqueue(1)

        assert run_jobs() == []
        pause.delete()
        assert len(run_jobs()) == 1

    def test_a_job_that_fails_is_recorded_and_what_it_wrote_stays(self):
        tasks.write_and_fail.enqueue("written")
        tasks.note.enqueue(1)

        failed, good = run_jobs()

        assert failed.status == TaskResultStatus.FAILED
        assert failed.errors[0].exception_class is ValueError
        assert good.return_value == 1
        assert FailedExecution.objects.get().message == "written"
        assert Pause.objects.filter(queue_name="written").exists()

    def test_a_job_that_breaks_the_transaction_fails_alone(self):
        tasks.break_the_transaction.enqueue()
        tasks.note.enqueue(1)

        failed, good = run_jobs()

        assert failed.errors[0].exception_class_path == "django.db.utils.IntegrityError"
        assert good.return_value == 1
        assert Job.objects.failed().count() == 1

    def test_scheduled_jobs_run_when_they_are_due(self):
        tasks.note.using(run_after=timedelta(hours=2)).enqueue("late")
        tasks.note.using(run_after=timezone.now() + timedelta(hours=1)).enqueue("soon")
        tasks.note.enqueue("now")

        assert len(run_jobs()) == 1
        with travel(timedelta(minutes=61)):
            (result,) = run_jobs()
            assert result.started_at > timezone.now() + timedelta(hours=1)
            with travel(timedelta(minutes=61)):
                run_jobs()
        assert tasks.ran == ["now", "soon", "late"]
        assert run_jobs() == []

    def test_one_may_travel_to_a_moment(self):
        there = datetime(2099, 1, 1, tzinfo=UTC)
        tasks.note.using(run_after=there).enqueue("then")

        with travel(there - timedelta(seconds=1)):
            assert run_jobs() == []
        with travel(there + timedelta(seconds=1)):
            assert len(run_jobs()) == 1

    def test_a_retry_that_is_due_runs(self):
        tasks.write_and_fail.enqueue("again")
        run_jobs()
        FailedExecution.objects.update(retry_at=timezone.now() + timedelta(minutes=5))

        assert run_jobs() == []
        with travel(timedelta(minutes=6)):
            (result,) = run_jobs()

        assert len(result.errors) == 2
        assert result.attempts == 2

    def test_what_waits_for_a_commit_is_done_after_the_job(self):
        tasks.enqueue_after_commit.enqueue("after")

        assert len(run_jobs()) == 2
        assert tasks.ran == ["before the commit", "after"]

    def test_the_steps_of_a_workflow_run(self):
        enqueue_steps([step_tasks.count] * 3)

        assert len(run_jobs()) == 3
        assert Workflow.objects.get().workspace == {"count": 3}

    def test_jobs_that_wait_for_a_slot_run_when_it_is_free(self):
        for value in range(3):
            limited_for_testing.one_at_a_time.enqueue(value)

        assert [result.return_value for result in run_jobs()] == [0, 1, 2]
        assert not SemaphoreHolder.objects.exists()

    def test_so_do_those_that_were_scheduled(self):
        for value in range(2):
            later = limited_for_testing.one_at_a_time.using(run_after=timedelta(hours=1))
            later.enqueue(value)

        assert run_jobs() == []
        with travel(timedelta(hours=2)):
            assert len(run_jobs()) == 2

    def test_a_job_knows_its_attempt(self):
        tasks.whole_state.enqueue()

        (result,) = run_jobs()

        assert result.return_value["attempt"] == 1
        assert result.return_value["worker"] == ["run_jobs"]


class InATransaction(Jobs, TestCase):
    """As most tests are."""

    def test_a_job_that_marks_the_transaction_fails_alone(self):
        tasks.mark_for_rollback.enqueue()
        tasks.note.enqueue(1)

        failed, good = run_jobs()

        assert failed.status == TaskResultStatus.FAILED
        assert good.return_value == 1

    def test_nothing_of_this_is_committed(self):
        with transaction.atomic():
            tasks.note.enqueue(1)
            run_jobs()
            transaction.set_rollback(True)

        assert not Job.objects.exists()


class TestOutside(Jobs):
    """With commits, in a plain class of pytest."""

    @pytest.fixture(autouse=True)
    def forget(self):
        yield
        self.tearDown()


def test_jobs_are_not_kept_where_finished_jobs_are_not(settings):
    settings.TASKS = {
        "default": {
            "BACKEND": "dj_queue.backend.DjQueueBackend",
            "OPTIONS": {"preserve_finished_jobs": False},
        }
    }
    tasks.note.enqueue(1)
    tasks.write_and_fail.enqueue("x")

    good, bad = run_jobs()
    tasks.ran.clear()

    assert good.return_value == 1
    assert str(Job.objects.get().id) == bad.id
