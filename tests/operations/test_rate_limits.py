"""Rate limits: so many jobs of a task, a key or a queue become ready in a period, and the others wait."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.db.models import F
from django.tasks import task, task_backends
from django.utils import timezone

from dj_queue import events
from dj_queue.api import concurrency, explain, limits_rate, retry_failed_job
from dj_queue.config import backend_config
from dj_queue.exceptions import DispatchPolicyError
from dj_queue.models import (
    Job,
    Pause,
    ReadyExecution,
    ScheduledExecution,
    Semaphore,
    SemaphoreHolder,
)
from dj_queue.operations import limits
from dj_queue.operations.concurrency import cleanup_expired_semaphores, semaphore_release
from dj_queue.operations.recover import requeue
from dj_queue.runtime.upkeep import LimitUpkeep
from dj_queue.store import store_for
from dj_queue.store.records import JobError, Outcome
from dj_queue.testing import run_jobs
from tests.site import rate_tasks
from tests.site.rate_tasks import (
    by_account,
    fast,
    letter,
    one_per_minute,
    parcel,
    two_per_minute,
    unlimited,
)

PATH = "tests.site.rate_tasks"

CLOCK = 0.02
"""Seconds by which the database's clock and this process's may differ in two seconds."""


def ready():
    """The first arguments of the jobs that are ready, in the order in which they will be claimed."""
    rows = Job.objects.ready().order_by("-ready_execution__priority", "ready_execution__id")
    return [job.payload["args"][0] for job in rows]


def pass_time(seconds):
    """Move the ends of all slots back, as if so many seconds had passed."""
    earlier = F("expires_at") - timedelta(seconds=seconds)
    SemaphoreHolder.objects.exclude(expires_at=None).update(expires_at=earlier)


def sweep():
    """What the leading dispatcher does once a second, or when it knows that a slot ends."""
    return limits.sweep(store_for("default"), "")


def enqueue(*numbers, task=two_per_minute):
    return [task.enqueue(number) for number in numbers]


def declare(decorator):
    def plain(account=None):
        return account

    plain.__qualname__, plain.__module__ = "unlimited", PATH
    return decorator(task(plain))


class TestDeclared:
    @pytest.mark.parametrize(
        ("wrong", "named"),
        [
            ({"to": 0, "per": 1}, "to of limits_rate .* not 0"),
            ({"to": True, "per": 1}, "to of limits_rate .* not True"),
            ({"to": 2.5, "per": 1}, "to of limits_rate .* not 2.5"),
            ({"to": 1, "per": 0}, "per of limits_rate .* not 0"),
            ({"to": 1, "per": 0.5}, "per of limits_rate .* not 0.5"),
            ({"to": 1, "per": "1m"}, "per of limits_rate .* not '1m'"),
            ({"to": 1, "per": float("nan")}, "per of limits_rate .* not nan"),
            ({"to": 1, "per": timedelta(days=-1)}, "per of limits_rate"),
            ({"to": 1, "per": 1, "key": ""}, "key of limits_rate .* not ''"),
            ({"to": 1, "per": 1, "key": 7}, "key of limits_rate .* not 7"),
            ({"to": 1, "per": 1, "group": ""}, "group of limits_rate .* not ''"),
        ],
    )
    def test_values_that_cannot_be_used_are_refused_where_they_stand(self, wrong, named):
        with pytest.raises(DispatchPolicyError, match=named):
            limits_rate(**wrong)

    @pytest.mark.parametrize("key", ["{nobody}", lambda account: 7, "a" * 300])
    def test_a_key_that_cannot_be_made_is_an_error_of_the_enqueue(self, key):
        named = declare(limits_rate(key=key, to=1, per=1))

        with pytest.raises(DispatchPolicyError, match="rate limit's key"):
            named.enqueue(1)
        assert not Job.objects.exists()

    def test_two_limits_on_one_task_are_refused(self):
        rate, at_once = limits_rate(to=1, per=1), concurrency(key="k", limit=1)

        for first, second in ((rate, at_once), (at_once, rate)):
            with pytest.raises(DispatchPolicyError, match=f"{PATH}.unlimited has a rate limit and"):
                declare(lambda declared, first=first, second=second: second(first(declared)))

        late = declare(rate)
        late.func.concurrency_key, late.func.concurrency_limit = "k", 1
        with pytest.raises(DispatchPolicyError, match="has a rate limit and"):
            late.enqueue(1)

    def test_no_other_key_may_look_like_one_of_a_rate(self):
        with pytest.raises(DispatchPolicyError, match="'rate:'"):
            declare(concurrency(key="rate:x", limit=1)).enqueue(1)

    def test_keys(self):
        found = [
            Job.objects.get(pk=result.id).concurrency_key
            for result in (two_per_minute.enqueue(), by_account.enqueue(7), letter.enqueue("ann"))
        ]

        assert found == [
            f"rate:{PATH}.two_per_minute",
            f"rate:{PATH}.by_account/7",
            "rate:mail/ann",
        ]

    @pytest.mark.parametrize(
        ("found", "message"),
        [
            ([], r"\['rate_limits'\] must be a mapping"),
            ({"": {"to": 1, "per": 1}}, "each key of .*rate_limits"),
            ({"mail*": {"to": 1, "per": 1}}, "the name of one queue, not 'mail\\*'"),
            ({"mail": 10}, r"\['mail'\] must be a mapping, not 10"),
            ({"mail": {"to": 1}}, r"\['mail'\]\['per'\] is missing"),
            ({"mail": {"per": 1}}, r"\['mail'\]\['to'\] is missing"),
            ({"mail": {"to": 0, "per": 1}}, r"\['mail'\]\['to'\] must be a whole number"),
            (
                {"mail": {"to": 1, "per": 0.2}},
                r"\['mail'\]\['per'\] must be a timedelta or seconds",
            ),
            ({"mail": {"to": 1, "per": 1, "key": "x"}}, r"\['mail'\]\['key'\] is not an option"),
        ],
    )
    def test_a_wrong_entry_for_a_queue_is_named(self, use_tasks, found, message):
        use_tasks(default={"rate_limits": found})

        with pytest.raises(ImproperlyConfigured, match=message):
            backend_config("default")

    def test_entries_for_queues_are_shown_as_they_were_given(self, use_tasks):
        use_tasks(default={"rate_limits": {"mail": {"to": 1, "per": timedelta(minutes=1)}}})

        shown = backend_config("default").options.as_dict()["rate_limits"]

        assert shown == {"mail": {"to": 1, "per": 60}}


class TestSlots:
    def test_the_first_are_ready_and_the_others_wait_for_the_end_of_the_period(self):
        enqueue(1, 2, 3, 4, 5)
        assert ready() == [1, 2]

        pass_time(59)
        assert not sweep().settled.started
        pass_time(1)
        assert len(sweep().settled.started) == 2
        assert ready() == [1, 2, 3, 4]

        pass_time(60)
        sweep()
        assert ready() == [1, 2, 3, 4, 5]

    def test_the_window_slides(self):
        enqueue(1)
        pass_time(30)
        enqueue(2, 3, 4)

        pass_time(30)
        sweep()
        assert ready() == [1, 2, 3]

        pass_time(29)
        assert not sweep().settled.started

    def test_waiters_go_by_priority_and_then_by_age(self):
        enqueue(1, 2, 3)
        two_per_minute.using(priority=5).enqueue(4)
        enqueue(5)

        pass_time(60)
        sweep()

        assert set(ready()) == {1, 2, 3, 4}

    def test_a_bulk_enqueue_and_a_transaction_are_counted_alike(self):
        backend = task_backends["default"]
        backend.enqueue_all([(two_per_minute, (number,), {}) for number in (1, 2, 3)])
        assert ready() == [1, 2]

        pass_time(60)
        with transaction.atomic():
            enqueue(4, 5)
        assert ready() == [1, 2, 3, 4]

    def test_a_bulk_costs_as_many_statements_as_a_single_one(self, count_statements):
        def cost(jobs):
            with count_statements() as statements:
                calls = [(two_per_minute, (number,), {}) for number in range(jobs)]
                task_backends["default"].enqueue_all(calls)
            return len(statements)

        cost(2)
        few = cost(1)

        assert cost(50) == few

    def test_jobs_of_tasks_without_limit_pay_nothing(self, use_tasks, count_statements):
        def cost():
            with count_statements() as statements:
                unlimited.enqueue()
            return len(statements)

        cost()
        before = cost()
        use_tasks(default={"rate_limits": {"mail": {"to": 1, "per": 60}}})
        unlimited.enqueue()

        assert cost() == before
        assert not Semaphore.objects.exists()

    def test_keys_are_limited_one_by_one_and_groups_together(self):
        enqueue("a", "a", "b", task=by_account)
        assert ready() == ["a", "b"]

        enqueue("c", task=letter)
        enqueue("c", task=parcel)
        assert ready() == ["a", "b", "c"]

    def test_a_queue_has_a_limit_for_the_jobs_of_tasks_that_have_none(self, use_tasks):
        use_tasks(
            default={"rate_limits": {"mail": {"to": 1, "per": 60}}},
            other={},
        )
        in_mail = unlimited.using(queue_name="mail")
        for each in (in_mail, in_mail, in_mail.using(backend="other"), unlimited, unlimited):
            each.enqueue()
        two_per_minute.using(queue_name="mail").enqueue()

        assert Job.objects.blocked().count() == 1
        [key] = Job.objects.blocked().values_list("concurrency_key", flat=True)
        assert key == "rate:queue:default/mail"
        assert Job.objects.ready().count() == 5

    def test_a_scheduled_job_counts_when_it_is_due(self, make_worker):
        due = two_per_minute.using(run_after=timezone.now() + timedelta(hours=1))
        enqueue(1, 2, 3, task=due)
        assert not SemaphoreHolder.objects.exists()

        ScheduledExecution.objects.update(scheduled_at=timezone.now() - timedelta(seconds=1))
        promotion = make_worker()._session.promote_due(10)

        assert promotion.has_blocked
        assert ready() == [1, 2]

    def test_waiters_of_a_paused_queue_take_no_slot(self):
        enqueue(1, 2, 3)
        two_per_minute.using(queue_name="other").enqueue(4)
        Pause.objects.create(backend_alias="default", queue_name="default")

        pass_time(60)
        sweep()

        assert ready() == [1, 2, 4]
        assert SemaphoreHolder.objects.count() == 1

    def test_nothing_that_becomes_of_a_job_gives_its_slot_back(self, worker):
        results = enqueue(1, 2, 3, 4)
        locked_at = Semaphore.objects.get().updated_at
        for job, end in zip(worker.claim(2), (worker.succeed, worker.fail), strict=True):
            end(job)
        assert Semaphore.objects.get().updated_at == locked_at
        cleanup_expired_semaphores()
        sweep()
        assert ready() == []

        Job.objects.get(pk=results[0].id).delete()
        assert not semaphore_release(f"rate:{PATH}.two_per_minute")
        sweep()
        assert ready() == []
        assert SemaphoreHolder.objects.count() == 2

        pass_time(60)
        sweep()
        assert ready() == [3, 4]

    def test_a_retry_is_one_more_start(self, worker):
        result = one_per_minute.enqueue()
        worker.fail(worker.claim_one())
        retry_failed_job(result.id)
        assert worker.claim() == []

        pass_time(60)
        sweep()
        assert worker.claim_one().id == Job.objects.get(pk=result.id).id

    def test_a_job_whose_process_was_lost_waits_for_its_turn(self, worker):
        one_per_minute.enqueue()
        unlimited.enqueue()
        now = timezone.now()
        lost = [
            ("worker-1", Outcome(job, now, now, error=JobError("Lost", "gone", "")))
            for job in worker.claim(2)
        ]

        requeue("default", "default", lost)
        assert [job.task_path for job in worker.claim(2)] == [f"{PATH}.unlimited"]

        pass_time(60)
        sweep()
        assert worker.claim_one().task_path == f"{PATH}.one_per_minute"

    @pytest.mark.parametrize(("limit", "started"), [(1, 1), (2, 2), (3, 3)])
    def test_the_newest_word_counts(self, limit, started, use_tasks):
        in_mail = unlimited.using(queue_name="mail")
        use_tasks(default={"rate_limits": {"mail": {"to": 2, "per": 60}}})
        for _ in range(6):
            in_mail.enqueue()
        assert Job.objects.ready().count() == 2
        use_tasks(default={"rate_limits": {"mail": {"to": limit, "per": 30}}})
        in_mail.enqueue()
        assert Job.objects.ready().count() == max(2, limit)

        pass_time(60)
        before = Job.objects.ready().count()
        sweep()
        assert Job.objects.ready().count() - before == started
        # Older jobs that start now do so for the new period.
        pass_time(30)
        sweep()
        assert Job.objects.ready().count() - before == min(2 * started, 7 - before)

    def test_ended_slots_are_removed_and_are_no_leaks(self):
        enqueue(1, 2)
        pass_time(60)
        Semaphore.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        store = store_for("default")

        assert limits.repair(store, 0).repaired == 0
        assert not SemaphoreHolder.objects.exists()
        assert limits.remove_unused(store) == 1

    def test_a_look_says_when_the_next_slot_ends(self):
        assert sweep().seconds_to_next is None
        enqueue(1, 2)
        assert sweep().seconds_to_next is None  # Nobody waits.
        enqueue(3)
        pass_time(20)

        assert 0 < sweep().seconds_to_next <= 40

    def test_in_tests_of_a_project_those_that_may_start_are_run(self):
        enqueue(1, 2, 3)

        assert len(run_jobs()) == 2
        assert Job.objects.blocked().count() == 1

    @pytest.mark.parametrize("in_transaction", [False, True])
    def test_the_dispatcher_is_woken_by_a_job_that_waits(self, heard, make_worker, in_transaction):
        woken, session = heard(events.JobsScheduled), make_worker()._session
        enqueue(1, 2)
        assert not woken
        assert not session.promote_due(10).has_blocked

        if in_transaction:
            with transaction.atomic():
                enqueue(3)
                assert not woken
        else:
            enqueue(3)

        assert [event.backend for event in woken] == ["default"]
        assert session.promote_due(10).has_blocked

    def test_the_leader_does_not_take_a_job_that_waits_for_an_idle_time(self, make_worker):
        config, session = backend_config("default"), make_worker()._session
        upkeep = LimitUpkeep(config, config.options.dispatchers[0])
        assert upkeep.work(session, has_blocked=False) > 5

        enqueue(1, 2, 3)

        assert upkeep.work(session, has_blocked=True) <= 1


def test_no_window_has_more_whoever_hands_slots_out():
    """By the rows' own times: they are of the database's clock, and nobody claims here."""
    deadline = time.monotonic() + 30

    def work(_):
        try:
            for _ in range(3):
                fast.enqueue()
            while Job.objects.blocked().exists() and time.monotonic() < deadline:
                sweep()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))

    ready_at = sorted(ReadyExecution.objects.values_list("created_at", flat=True))
    assert len(ready_at) == 9
    windows = [last - first for first, last in zip(ready_at, ready_at[3:], strict=False)]
    # The row is written a moment before its slot.
    assert min(windows) > timedelta(seconds=1 - CLOCK)


def test_a_runtime_starts_the_others_when_their_time_has_come(make_runtime, finished):
    rate_tasks.starts.clear()
    make_runtime(workers=[{"threads": 4}])
    *_, waiting = enqueue(1, 2, 3)
    began = time.monotonic()

    finished(*[fast.enqueue() for _ in range(8)], seconds=30)

    # Only three can be ready before a second is over, six before two: however long they take to begin then.
    starts = [start - began for start in sorted(rate_tasks.starts)]
    assert len(starts) == 8
    assert starts[3] > 1 - CLOCK
    assert starts[6] > 2 - CLOCK
    found = explain(waiting.id)
    assert found.code == "rate_limited"
    assert "2 of 2 jobs became ready within 60 s, and the next one may at" in found.sentence
