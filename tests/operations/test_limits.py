"""Concurrency limits through tasks, transactions and real workers."""

import json
import os
import threading
from datetime import timedelta
from itertools import batched

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections, transaction
from django.tasks import task_backends
from django.tasks.base import TaskResultStatus
from django.utils import timezone

from dj_queue import events
from dj_queue.config import backend_config
from dj_queue.models import (
    BlockedExecution,
    ClaimedExecution,
    FailedExecution,
    Job,
    Pause,
    ReadyExecution,
    ScheduledExecution,
    Semaphore,
    SemaphoreHolder,
)
from dj_queue.operations import limits
from dj_queue.operations.concurrency import (
    cleanup_expired_semaphores,
    promote_expired_blocked_jobs,
    semaphore_acquire,
    semaphore_release,
    unblock_next_blocked_job,
)
from dj_queue.operations.dispatch import place
from dj_queue.operations.recover import requeue
from dj_queue.runtime.child_messages import job_message, job_of
from dj_queue.states import DispatchOutcome
from dj_queue.store.records import JobError, Limit, Outcome
from tests.backend.undoing import rolled_back
from tests.contrib.servers import environment
from tests.site import limited_tasks, runtime_tasks
from tests.site.limited_tasks import one, one_or_none, two_per_account, wait_at, wait_at_any
from tests.site.runtime_tasks import gate
from tests.waiting import wait_until

ROUNDS = 1000 if os.environ.get("DJ_QUEUE_TEST_FAULTS_FULL") else 30


def states():
    """How many jobs are in each state."""
    jobs = Job.objects.all()
    found = {
        "ready": jobs.ready(),
        "scheduled": jobs.scheduled(),
        "claimed": jobs.claimed(),
        "blocked": jobs.blocked(),
        "failed": jobs.failed(),
        "finished": jobs.finished(),
    }
    return {name: count for name, those in found.items() if (count := those.count())}


class TestEnqueue:
    def test_a_job_that_is_dropped_has_a_result_at_once(self):
        first, second = one_or_none.enqueue(), one_or_none.enqueue()

        assert first.status == TaskResultStatus.READY
        assert second.status == TaskResultStatus.SUCCESSFUL
        assert second.return_value is None
        assert second.finished_at == second.enqueued_at
        second.refresh()
        assert second.status == TaskResultStatus.SUCCESSFUL
        assert second.finished_at is not None

    def test_a_blocked_job_shows_as_ready(self):
        one.enqueue()

        assert one.enqueue().status == TaskResultStatus.READY
        assert states() == {"ready": 1, "blocked": 1}

    def test_in_a_transaction_keys_are_settled_by_its_commit(self):
        with transaction.atomic():
            one.enqueue()
            one.enqueue()
            assert states() == {"blocked": 2}
            assert not Semaphore.objects.exists()

        assert states() == {"ready": 1, "blocked": 1}

    def test_a_job_that_does_not_wait_is_dropped_after_the_commit_if_somebody_was_quicker(self):
        with transaction.atomic():
            result = one_or_none.enqueue()
            SemaphoreHolder.objects.create(key="one")

        result.refresh()
        assert result.status == TaskResultStatus.SUCCESSFUL
        assert states() == {"finished": 1}

    def test_all_enqueues_of_a_transaction_are_settled_together(self, count_statements):
        def cost(jobs):
            with count_statements() as statements, transaction.atomic():
                for n in range(jobs):
                    two_per_account.enqueue(n)
            return len([each for each in statements if "semaphores" in each["sql"]])

        few = cost(2)

        assert 0 < cost(20) == few or connection.vendor == "sqlite"

    def test_what_a_savepoint_took_back_is_not_said(self):
        with transaction.atomic():
            one.enqueue()
            with rolled_back():
                two_per_account.enqueue(1)

        assert list(Semaphore.objects.values_list("key", flat=True)) == ["one"]

    def test_what_is_enqueued_after_a_savepoint_was_taken_back_is_settled(self):
        with transaction.atomic():
            with rolled_back():
                one.enqueue()
            one.enqueue()

        assert states() == {"ready": 1}

    def test_a_rollback_leaves_nothing(self):
        with rolled_back():
            one.enqueue()

        assert not Job.objects.exists()
        assert not Semaphore.objects.exists()

    def test_an_error_while_settling_is_not_the_callers(self, monkeypatch, caplog):
        def broken(*_):
            raise RuntimeError("out of order")

        with monkeypatch.context() as patch:
            patch.setattr(limits, "settle", broken)
            with transaction.atomic():
                one.enqueue()

        assert states() == {"blocked": 1}
        assert "out of order" in caplog.text

    def test_workers_are_told_of_jobs_that_got_a_slot(self, heard):
        ready, unblocked = heard(events.JobsReady), heard(events.JobsUnblocked)
        with transaction.atomic():
            result = one.enqueue()
            one.enqueue()
            assert ready == []

        assert [(each.backend, each.queues) for each in ready] == [("default", ("default",))]
        assert [(str(job), key) for each in unblocked for job, key in each.jobs] == [
            (result.id, "one")
        ]

    def test_a_job_that_gets_its_slot_at_once_was_never_blocked(self, heard):
        ready, unblocked = heard(events.JobsReady), heard(events.JobsUnblocked)

        one.enqueue()

        assert len(ready) == 1
        assert unblocked == []


class TestDeadlocks:
    def test_transactions_that_enqueue_many_keys_in_opposite_orders_never_deadlock(self):
        """Fifty keys, each transaction in the other's reverse order, and both at the same time."""
        barrier, errors = threading.Barrier(2), []

        def enqueue(accounts):
            try:
                for _ in range(ROUNDS):
                    barrier.wait(60)
                    with transaction.atomic():
                        for some in batched(accounts, 10):
                            calls = [(two_per_account, (account,), {}) for account in some]
                            task_backends["default"].enqueue_all(calls)
            except BaseException as error:
                errors.append(error)
                barrier.abort()
                raise
            finally:
                connections.close_all()

        accounts = list(range(50))
        threads = [
            threading.Thread(target=enqueue, args=(order,)) for order in (accounts, accounts[::-1])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60 + ROUNDS)

        assert errors == []
        assert states() == {"ready": 100, "blocked": 100 * (ROUNDS - 1)}

    @pytest.mark.only_on("postgresql", "mysql")
    def test_a_worker_does_not_wait_for_a_transaction_that_enqueues_the_same_key(
        self, make_runtime, finished
    ):
        make_runtime(workers=[{"threads": 2}])
        first, second = wait_at.enqueue("a"), wait_at.enqueue("a", 21)
        wait_until(gate("a began").is_set)

        with transaction.atomic():
            wait_at.enqueue("a", 22)
            gate("a").set()
            finished(first, second)


class TestWorker:
    def test_no_more_run_at_once_than_the_limit_and_all_of_them_run(self, make_runtime, finished):
        make_runtime(workers=[{"threads": 8}])
        calls = [(two_per_account, (n % 3,), {"note": n}) for n in range(60)]

        results = finished(*task_backends["default"].enqueue_all(calls), seconds=40)

        assert [result.return_value for result in results] == list(range(60))
        wait_until(lambda: not SemaphoreHolder.objects.exists())
        assert not BlockedExecution.objects.exists()

    def test_the_next_starts_when_a_job_fails(self, make_runtime, finished):
        make_runtime()

        results = finished(*[limited_tasks.fails.enqueue() for _ in range(5)])

        assert {result.status for result in results} == {TaskResultStatus.FAILED}
        assert not SemaphoreHolder.objects.exists()

    def test_async_and_scheduled_jobs_share_the_limit(self, make_runtime, finished):
        make_runtime(dispatchers=[{"polling_interval": 0.1}])
        later = timezone.now() + timedelta(seconds=0.3)
        results = [limited_tasks.async_group_key.enqueue("ann") for _ in range(5)]
        results += [limited_tasks.group_key.using(run_after=later).enqueue("ann") for _ in range(5)]

        finished(*results)

        assert Semaphore.objects.get().key == "mail/ann"
        assert not SemaphoreHolder.objects.exists()

    def test_a_lowered_limit_holds_under_a_backlog(self, make_runtime, finished, monkeypatch):
        make_runtime(workers=[{"threads": 8}])
        first = [wait_at_any.enqueue(f"first {n}") for n in range(5)]
        for n in range(5):
            wait_until(gate(f"first {n} began").is_set)
        monkeypatch.setattr(wait_at_any.func, "concurrency_limit", 2)
        rest = [wait_at_any.enqueue(f"rest {n}") for n in range(6)]

        for n in range(5):
            gate(f"first {n}").set()
            finished(first[n])
            began = [gate(f"rest {m} began").is_set() for m in range(6)]
            assert not any(began) or n >= 3
        for n in range(6):
            wait_until(gate(f"rest {n} began").is_set)
            assert SemaphoreHolder.objects.count() <= 2
            gate(f"rest {n}").set()
        finished(*rest)

    def test_slots_cross_backends_of_one_database(self, make_runtime, use_tasks, finished):
        use_tasks(default={}, other={})
        runtime = make_runtime()
        held = wait_at.enqueue("shared")
        waiting = wait_at.using(backend="other").enqueue("shared", 21)
        assert states().get("blocked") == 1
        gate("shared").set()
        finished(held)

        ready = wait_until(lambda: ReadyExecution.objects.filter(job_id=waiting.id).first())
        assert ready.backend_alias == "other"
        assert runtime.is_running

    def test_a_limited_job_does_not_go_straight_into_a_free_thread(self, make_runtime, finished):
        make_runtime()

        finished(*[one.enqueue() for _ in range(3)])

        assert Semaphore.objects.get().limit == 1

    def test_child_processes_run_jobs_with_limits(self, make_runtime, finished, monkeypatch):
        for name, value in environment().items():
            monkeypatch.setenv(name, value)
        make_runtime(workers=[{"executor": "process", "threads": 1}])
        calls = [(two_per_account, (1,), {"note": n}) for n in range(4)]
        calls += [(limited_tasks.async_group_key, ("ann",), {})]

        results = finished(*task_backends["default"].enqueue_all(calls), seconds=40)

        assert [result.return_value for result in results] == [0, 1, 2, 3, "ann"]
        wait_until(lambda: not SemaphoreHolder.objects.exists())

    def test_a_job_comes_to_a_child_process_with_its_limit(self, make_worker):
        one.enqueue()
        job = make_worker().claim_one()

        message = json.loads(json.dumps(job_message(job)))

        assert job_of(message) == job
        assert job.limit == Limit("one", 1, 180)


class TestUpkeep:
    """What the leader's dispatcher does by itself."""

    def test_waiters_that_nobody_settled_start(self, make_runtime, finished, monkeypatch):
        # As if the process had died between its commit and the settling.
        with monkeypatch.context() as patch:
            patch.setattr(limits, "settle_after_commit", lambda *_: None)
            with transaction.atomic():
                results = [one.enqueue(), two_per_account.enqueue(1)]
        assert states() == {"blocked": 2}

        make_runtime()

        finished(*results)

    def test_a_leaked_slot_is_repaired_when_a_process_begins_to_lead(
        self, make_runtime, finished, heard
    ):
        repaired = heard(events.SlotsRepaired)
        gone, waiting = one.enqueue(), one.enqueue()
        ReadyExecution.objects.filter(job_id=gone.id).delete()

        make_runtime()

        finished(waiting)
        assert repaired == [events.SlotsRepaired("default", 1)]

    def test_waiters_start_when_their_queue_is_resumed(self, make_runtime, finished):
        Pause.objects.create(backend_alias="default", queue_name="default")
        result = one.enqueue()
        assert states() == {"blocked": 1}
        make_runtime()
        other = one.using(queue_name="other").enqueue()
        finished(other)

        Pause.objects.all().delete()
        finished(result)

    def test_it_can_be_turned_off(self, make_runtime, finished):
        gone, waiting = one.enqueue(), one.enqueue()
        ReadyExecution.objects.filter(job_id=gone.id).delete()
        make_runtime(dispatchers=[{"concurrency_maintenance": False}])
        # A job without a limit that is due later than the first looks.
        marker = runtime_tasks.note.using(run_after=timezone.now() + timedelta(seconds=0.3))
        finished(marker.enqueue("later"))

        waiting.refresh()
        assert waiting.status == TaskResultStatus.READY


class TestStoredJobs:
    """Jobs that have a row already, and compete for slots anew."""

    @pytest.fixture
    def config(self):
        return backend_config("default")

    def test_a_job_that_is_placed_waits_for_its_turn(self, config):
        one.enqueue()
        placed = self._unplaced(one)

        with transaction.atomic():
            outcomes = place(config, placed)

        assert list(outcomes.values()) == [DispatchOutcome.BLOCKED]
        assert states() == {"ready": 1, "blocked": 1}

    def test_a_job_that_does_not_wait_is_not_placed_while_there_is_no_slot(self, config):
        one.enqueue()
        placed = self._unplaced(one_or_none)
        assert list(place(config, placed).values()) == [DispatchOutcome.DISCARDED]
        assert Job.objects.get(pk=placed[0].pk).status is None

        limits.release_holders("default", list(Job.objects.values_list("id", flat=True)))
        assert list(place(config, placed).values()) == [DispatchOutcome.BLOCKED]
        assert Job.objects.get(pk=placed[0].pk).status == "ready"

    def test_a_slot_of_a_deleted_job_goes_to_the_next(self):
        first, second = one.enqueue(), one.enqueue()

        with transaction.atomic():
            limits.release_holders("default", [Job.objects.get(pk=first.id).id])
            Job.objects.filter(pk=first.id).delete()
            assert BlockedExecution.objects.filter(job_id=second.id).exists()

        assert ReadyExecution.objects.filter(job_id=second.id).exists()

    def test_deleting_a_job_by_its_model_deletes_its_slot(self):
        result = one.enqueue()

        Job.objects.get(pk=result.id).delete()

        assert not SemaphoreHolder.objects.exists()

    def _unplaced(self, task):
        with transaction.atomic():
            result = task.enqueue()
            Job.objects.filter(pk=result.id).update(finished_at=None)
            transaction.on_commit(lambda: None)
            for table in (BlockedExecution, ReadyExecution, ScheduledExecution):
                table.objects.filter(job_id=result.id).delete()
        return [Job.objects.get(pk=result.id)]


class TestRecovery:
    def test_a_lost_job_that_is_tried_again_keeps_its_slot(self, make_worker):
        one.enqueue()
        one.enqueue()
        hand = make_worker()
        job = hand.claim_one()
        error = JobError("dj_queue.exceptions.ProcessExitError", "gone", "")
        lost = Outcome(job, job.created_at, job.created_at, error=error)

        assert len(requeue("default", "default", [("worker", lost)])) == 1

        assert states() == {"ready": 1, "blocked": 1}
        assert SemaphoreHolder.objects.get().job_id == job.id

    def test_a_lost_job_that_fails_gives_its_slot_on(self, make_worker):
        first, second = one.enqueue(), one.enqueue()
        hand = make_worker()
        hand.fail(hand.claim_one())

        assert FailedExecution.objects.get().job_id == Job.objects.get(pk=first.id).id
        assert str(SemaphoreHolder.objects.get().job_id) == second.id
        assert not ClaimedExecution.objects.exists()


class TestByHand:
    """`dj_queue.operations.concurrency`."""

    def test_a_slot_can_be_taken_and_given_back(self):
        assert semaphore_acquire("one", limit=1, duration_seconds=60)
        assert not semaphore_acquire("one", limit=1, duration_seconds=60)
        one.enqueue()
        assert states() == {"blocked": 1}

        assert semaphore_release("one", duration_seconds=60)
        assert states() == {"ready": 1}
        assert not semaphore_release("one", duration_seconds=60)

    def test_a_slot_that_was_not_given_back_ends_with_its_time(self):
        assert semaphore_acquire("one", limit=1, duration_seconds=60)
        one.enqueue()
        assert cleanup_expired_semaphores() == 0
        assert states() == {"blocked": 1}
        past = timezone.now() - timedelta(seconds=1)
        SemaphoreHolder.objects.update(expires_at=past)

        cleanup_expired_semaphores()

        assert states() == {"ready": 1}

    def test_a_slot_of_a_running_job_never_ends_with_a_time(self, make_worker):
        one.enqueue()
        make_worker().claim_one()
        past = timezone.now() - timedelta(days=1)
        Semaphore.objects.update(expires_at=past)

        assert cleanup_expired_semaphores() == 0
        assert SemaphoreHolder.objects.count() == 1

    def test_unused_semaphores_are_deleted(self, make_worker):
        one.enqueue()
        hand = make_worker()
        hand.succeed(hand.claim_one())
        Semaphore.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

        assert cleanup_expired_semaphores() == 1
        assert not Semaphore.objects.exists()

    def test_waiters_can_be_started_by_hand(self):
        first, _, third = one.enqueue(), one.enqueue(), one.enqueue()
        assert not unblock_next_blocked_job("one", limit=1, duration_seconds=60)
        assert unblock_next_blocked_job("one", limit=2, duration_seconds=60)
        assert states() == {"ready": 2, "blocked": 1}
        SemaphoreHolder.objects.filter(job_id=first.id).delete()

        assert promote_expired_blocked_jobs() == 0
        BlockedExecution.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert promote_expired_blocked_jobs() == 1
        assert ReadyExecution.objects.filter(job_id=third.id).exists()

    def test_an_unknown_backend_is_told(self):
        with pytest.raises(ImproperlyConfigured, match="nobody"):
            semaphore_acquire("k", limit=1, duration_seconds=1, backend_alias="nobody")
