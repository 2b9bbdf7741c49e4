"""Concurrency limits: what `Slots` promises on every database, through stores and sessions."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from dj_queue.models import (
    BlockedExecution,
    Job,
    Pause,
    ReadyExecution,
    ScheduledExecution,
    Semaphore,
    SemaphoreHolder,
)
from dj_queue.states import DispatchOutcome
from dj_queue.store.limited import said_by
from dj_queue.store.records import Limit, Said
from tests.store.building import (
    NO_ROOM,
    PLENTY,
    claim,
    database_clock,
    failed,
    ids,
    new_job,
    status,
    stored,
    succeeded,
)

READY, BLOCKED, DISCARDED, SCHEDULED = (
    DispatchOutcome.READY,
    DispatchOutcome.BLOCKED,
    DispatchOutcome.DISCARDED,
    DispatchOutcome.SCHEDULED,
)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def limited(key="key", limit=1, **fields):
    """A job that shares *key* with at most so many others."""
    duration = fields.pop("duration", 60)
    return new_job(limit=Limit(key, limit, duration), **fields)


@pytest.fixture
def put(store):
    """Writes jobs outside of transactions; where they went."""
    return lambda *jobs, backend="default": list(store.insert_limited(backend, jobs).outcomes)


@pytest.fixture
def settle(store):
    """Settles a key about which nothing new is said."""

    def run(*keys):
        said = [Said(key, 1, 0, LONG_AGO) for key in keys]
        return store.in_slots(lambda slots: slots.settle(said))

    return run


def held(key="key"):
    return SemaphoreHolder.objects.filter(key=key).count()


def waiting(key="key"):
    return list(
        BlockedExecution.objects.filter(concurrency_key=key)
        .order_by("id")
        .values_list("job_id", flat=True)
    )


class TestEnqueue:
    def test_jobs_are_ready_as_long_as_there_are_slots(self, put):
        jobs = [limited(limit=2) for _ in range(4)]

        assert put(*jobs) == [READY, READY, BLOCKED, BLOCKED]
        assert [status(job) for job in jobs] == ["ready", "ready", "blocked", "blocked"]
        assert held() == 2
        semaphore = Semaphore.objects.get()
        assert (semaphore.key, semaphore.limit, semaphore.value) == ("key", 2, 0)
        assert (semaphore.available_count, semaphore.occupied_count) == (0, 2)

    def test_a_job_that_does_not_wait_is_finished_at_once(self, put):
        first, second = limited(discards=True), limited(discards=True)

        assert put(first, second) == [READY, DISCARDED]
        assert stored(second).status == "finished"
        assert stored(second).finished_at is not None
        assert stored(second).return_value is None
        assert not BlockedExecution.objects.exists()

    def test_the_policy_is_kept_with_the_job(self, put):
        job = limited("k", 3, duration=7, discards=True)

        put(job)

        row = stored(job)
        assert (row.concurrency_key, row.concurrency_limit, row.concurrency_duration) == ("k", 3, 7)
        assert row.concurrency_on_conflict == "discard"

    def test_keys_are_compared_exactly(self, put):
        jobs = [limited("Key"), limited("key"), limited("kéy"), limited("key/")]

        assert put(*jobs) == [READY] * 4

    def test_jobs_with_and_without_a_limit_go_together(self, put):
        later = database_clock() + timedelta(hours=1)
        jobs = [
            limited(),
            new_job("mail"),
            limited(),
            new_job(run_after=later),
            limited(run_after=later),
        ]

        assert put(*jobs) == [READY, READY, BLOCKED, SCHEDULED, SCHEDULED]
        assert len({stored(job).created_at for job in jobs}) == 1
        keys = ScheduledExecution.objects.order_by("id").values_list("concurrency_key", flat=True)
        assert list(keys) == [None, "key"]

    def test_a_scheduled_job_takes_no_slot(self, put):
        later = database_clock() + timedelta(hours=1)

        assert put(limited(run_after=later), limited()) == [SCHEDULED, READY]
        assert held() == 1

    def test_in_a_transaction_no_semaphore_is_touched(self, store):
        jobs = [limited(), limited()]
        with transaction.atomic():
            inserted = store.insert_limited("default", jobs)

        assert inserted.settled is None
        assert list(inserted.outcomes) == [BLOCKED, BLOCKED]
        assert not Semaphore.objects.exists()
        assert not SemaphoreHolder.objects.exists()

        said = said_by(jobs, inserted.outcomes, inserted.created_at)
        store.in_slots(lambda slots: slots.settle(said))
        assert [status(job) for job in jobs] == ["ready", "blocked"]

    def test_in_a_transaction_a_job_that_does_not_wait_is_dropped_by_what_can_be_seen(
        self, store, put
    ):
        put(limited("taken"))
        jobs = [limited("taken", discards=True), limited("free", discards=True)]
        jobs += [limited("free", discards=True)]

        with transaction.atomic():
            outcomes = store.insert_limited("default", jobs).outcomes

        assert list(outcomes) == [DISCARDED, BLOCKED, DISCARDED]
        assert status(jobs[0]) == status(jobs[2]) == "finished"

    def test_very_many_jobs_of_very_many_keys(self, put):
        jobs = [limited(f"key {n % 1100}", 1) for n in range(2200)]

        assert Counter(put(*jobs)) == {READY: 1100, BLOCKED: 1100}
        assert SemaphoreHolder.objects.count() == 1100


class TestHandOver:
    def test_an_end_gives_the_slot_to_the_next_which_is_claimed_at_once(
        self, put, session, claimer
    ):
        jobs = [limited() for _ in range(3)]
        put(*jobs)
        [first] = claim(session, claimer)

        answer = session.exchange(claimer, [succeeded(first)], PLENTY)

        assert ids(answer.claimed) == [jobs[1].id]
        assert [waiter.job_id for waiter in answer.settled.started] == [jobs[1].id]
        assert waiting() == [jobs[2].id]
        assert held() == 1

    def test_a_failure_gives_the_slot_back(self, put, session, claimer):
        jobs = [limited(), limited()]
        put(*jobs)
        [first] = claim(session, claimer)

        session.exchange(claimer, [failed(first)], NO_ROOM)

        assert [status(job) for job in jobs] == ["failed", "ready"]
        assert list(SemaphoreHolder.objects.values_list("job_id", flat=True)) == [jobs[1].id]

    def test_a_job_that_is_deleted_at_its_end_gives_the_slot_back(self, put, session, make_claimer):
        jobs = [limited(), limited()]
        put(*jobs)
        claimer = make_claimer(preserve_finished_jobs=False)
        [first] = claim(session, claimer)

        session.exchange(claimer, [succeeded(first)], NO_ROOM)

        assert not Job.objects.filter(id=first.id).exists()
        assert held() == 1
        assert status(jobs[1]) == "ready"

    def test_the_next_is_the_one_of_highest_priority_and_then_the_oldest(
        self, put, session, claimer
    ):
        jobs = [limited(), limited(), limited(priority=5), limited(), limited(priority=5)]
        put(*jobs)
        ran = []
        claimed = claim(session, claimer)
        while claimed:
            ran += ids(claimed)
            claimed = session.exchange(claimer, [succeeded(job) for job in claimed], PLENTY).claimed

        # The five came together, so priority decides from the first one on.
        assert ran == [jobs[n].id for n in (2, 4, 0, 1, 3)]

    def test_a_slot_goes_to_jobs_of_another_backend(self, put, open_session, make_claimer):
        mine, theirs = limited("shared", queue="mine"), limited("shared", queue="theirs")
        put(mine)
        put(theirs, backend="other")
        session, claimer = open_session(), make_claimer()
        [job] = claim(session, claimer)

        answer = session.exchange(claimer, [succeeded(job)], PLENTY)

        assert list(answer.claimed) == []
        assert answer.settled.queues() == {"other": ("theirs",)}
        ready = ReadyExecution.objects.get()
        assert (ready.backend_alias, ready.job_id) == ("other", theirs.id)

    def test_many_ends_at_once_hand_on_as_many_slots(self, put, session, claimer):
        jobs = [limited(f"key {n % 3}", 4) for n in range(30)]
        put(*jobs)
        claimed = claim(session, claimer)
        assert len(claimed) == 12

        answer = session.exchange(claimer, [succeeded(job) for job in claimed], PLENTY)

        assert Counter(job.limit.key for job in answer.claimed) == {f"key {n}": 4 for n in range(3)}

    def test_an_end_that_is_not_ours_gives_nothing_back(self, put, session, claimer):
        put(limited(), limited())
        [job] = claim(session, claimer)
        session.release([job.claim])

        answer = session.exchange(claimer, [succeeded(job)], NO_ROOM)

        assert list(answer.rejected) == [job.id]
        assert held() == 1
        assert len(waiting()) == 1

    def test_a_job_that_goes_back_keeps_its_slot(self, put, session, claimer):
        jobs = [limited(), limited()]
        put(*jobs)
        [job] = claim(session, claimer)

        session.release([job.claim])

        assert [status(job) for job in jobs] == ["ready", "blocked"]
        assert held() == 1

    def test_ends_with_and_without_a_limit_are_recorded_together(self, put, session, claimer):
        jobs = [limited(), new_job(), limited("other"), new_job(), limited()]
        put(*jobs)
        claimed = {job.id: job for job in claim(session, claimer)}
        outcomes = [
            succeeded(claimed[jobs[0].id]),
            succeeded(claimed[jobs[1].id], "kept"),
            failed(claimed[jobs[2].id]),
            failed(claimed[jobs[3].id]),
        ]

        answer = session.exchange(claimer, outcomes, NO_ROOM)

        assert list(answer.rejected) == []
        assert [status(job) for job in jobs[:4]] == ["finished", "finished", "failed", "failed"]
        assert stored(jobs[1]).return_value == "kept"
        assert status(jobs[4]) == "ready"


class TestLimit:
    def test_a_lowered_limit_holds_when_the_surplus_has_ended(self, put, session, claimer):
        put(*[limited(limit=5) for _ in range(5)])
        claimed = claim(session, claimer)
        put(*[limited(limit=2) for _ in range(5)])
        running = []
        for job in claimed:
            session.exchange(claimer, [succeeded(job)], NO_ROOM)
            running.append(held())

        assert running == [4, 3, 2, 2, 2]
        assert Semaphore.objects.get().limit == 2

    def test_a_raised_limit_starts_those_that_wait(self, put):
        jobs = [limited(limit=1) for _ in range(3)]
        put(*jobs)

        put(limited(limit=3))

        assert held() == 3
        assert [status(job) for job in jobs] == ["ready"] * 3

    def test_an_older_job_that_ends_does_not_bring_its_limit_back(self, put, session, claimer):
        put(limited(limit=5))
        [old] = claim(session, claimer)
        put(*[limited(limit=1) for _ in range(3)])

        session.exchange(claimer, [succeeded(old)], NO_ROOM)

        assert Semaphore.objects.get().limit == 1
        assert held() == 1

    def test_an_older_job_that_becomes_due_does_not_bring_its_limit_back(self, put, session):
        put(*[limited(limit=5, run_after=database_clock() + timedelta(hours=1)) for _ in range(3)])
        put(limited(limit=1))
        ScheduledExecution.objects.update(scheduled_at=LONG_AGO)

        assert session.promote_due(100).promoted == 3
        assert Semaphore.objects.get().limit == 1
        assert held() == 1


class TestPromotion:
    def test_due_jobs_compete_as_new_ones_do(self, put, session):
        soon = database_clock() + timedelta(hours=1)
        jobs = [limited(run_after=soon), limited(run_after=soon), new_job(run_after=soon)]
        jobs += [limited("other", discards=True, run_after=soon) for _ in range(2)]
        put(*jobs)
        ScheduledExecution.objects.update(scheduled_at=LONG_AGO)

        promotion = session.promote_due(100)

        assert promotion.promoted == 5
        states = [status(job) for job in jobs]
        assert states == ["ready", "blocked", "ready", "ready", "finished"]
        assert {waiter.job_id for waiter in promotion.settled.started} == {jobs[0].id, jobs[3].id}
        assert not BlockedExecution.objects.filter(waits=False).exists()


class TestPause:
    def test_a_waiter_of_a_paused_queue_takes_no_slot_and_lets_others_pass(self, put, settle):
        Pause.objects.create(backend_alias="default", queue_name="paused")
        paused, other = limited(queue="paused", priority=9), limited(queue="open")

        assert put(paused, other) == [BLOCKED, READY]

        Pause.objects.all().delete()
        SemaphoreHolder.objects.all().delete()
        settle("key")
        assert status(paused) == "ready"

    def test_a_pause_of_another_backend_does_not_matter(self, put):
        Pause.objects.create(backend_alias="other", queue_name="default")

        assert put(limited()) == [READY]


class TestUpkeep:
    def test_forgotten_waiters_are_found_by_key(self, store, put, session):
        with transaction.atomic():
            store.insert_limited("default", [limited(f"key {n}", 2) for n in range(5)])
        put(limited("busy"), limited("busy"))

        first = session.see_slots(lambda slots: slots.due("", 4))
        rest = session.see_slots(lambda slots: slots.due(first.last, 4))

        assert (first.is_all, rest.is_all) == (False, True)
        found = [*first.said, *rest.said]
        assert sorted(each.key for each in found) == [f"key {n}" for n in range(5)]
        assert {each.limit for each in found} == {2}
        assert session.see_slots(lambda slots: slots.due(rest.last, 4)) == ([], None, True, None)

        settled = session.in_slots(lambda slots: slots.settle(found))
        assert len(settled.started) == 5
        assert session.see_slots(lambda slots: slots.due("", 100)).said == []

    def test_keys_with_waiters_and_free_slots_are_found(self, put, session):
        put(limited("a"), limited("a"), limited("b"), limited("b"))
        SemaphoreHolder.objects.filter(key="b").delete()

        said = session.see_slots(lambda slots: slots.due("", 100)).said

        assert [each.key for each in said] == ["b"]

    def test_slots_of_jobs_that_hold_none_are_leaks(self, put, session, claimer):
        jobs = [limited(f"key {n}") for n in range(6)]
        put(*jobs)
        claimed = {job.id: job for job in claim(session, claimer, 5)}
        gone, ended = claimed[jobs[0].id], claimed[jobs[1].id]
        connection.cursor().execute(
            "DELETE FROM dj_queue_claimed_executions WHERE job_id IN (%s, %s)",
            [self._column(gone.id), self._column(ended.id)],
        )
        connection.cursor().execute(
            "DELETE FROM dj_queue_jobs WHERE id = %s", [self._column(gone.id)]
        )

        leaks, last = session.see_slots(lambda slots: slots.leaks(0, 100))

        # Four are claimed and one is ready.
        assert sorted(leak.key for leak in leaks) == ["key 0", "key 1"]
        assert session.see_slots(lambda slots: slots.leaks(last, 100)) == ([], None)

    def test_a_leak_is_given_to_the_next_slot_by_slot(self, put, session, claimer):
        jobs = [limited(limit=3) for _ in range(5)]
        put(*jobs)
        lost, *running = claim(session, claimer)
        session.exchange(claimer, [failed(lost)], NO_ROOM)
        # As if the failure had not given it back, and the next one had not got it.
        BlockedExecution.objects.all().delete()
        ReadyExecution.objects.all().delete()
        SemaphoreHolder.objects.exclude(job_id__in=ids(running)).delete()
        SemaphoreHolder.objects.create(job_id=lost.id, key="key")
        put(waiter := limited(limit=3))
        assert status(waiter) == "blocked"

        leaks, _ = session.see_slots(lambda slots: slots.leaks(0, 100))
        repaired, settled = session.in_slots(lambda slots: slots.repair(leaks))

        assert repaired == 1
        assert [each.job_id for each in settled.started] == [waiter.id]
        assert set(SemaphoreHolder.objects.values_list("job_id", flat=True)) == {
            *ids(running),
            waiter.id,
        }

    def test_a_leak_that_is_none_any_more_is_left_alone(self, put, session, claimer):
        put(job := limited())
        leak = SemaphoreHolder.objects.get()
        ReadyExecution.objects.all().delete()
        leaks, _ = session.see_slots(lambda slots: slots.leaks(0, 100))
        ReadyExecution.objects.create(job_id=job.id)

        repaired, _ = session.in_slots(lambda slots: slots.repair(leaks))

        assert (repaired, leaks[0].id) == (0, leak.id)
        assert held() == 1

    def test_unused_semaphores_go_when_their_time_is_over(self, put, session, claimer):
        later = database_clock() + timedelta(hours=1)
        put(limited("held"), limited("waited for"), limited("young"), limited("old"))
        put(limited("waited for"), limited("coming", run_after=later))
        put(limited("coming"))
        jobs = [job for job in claim(session, claimer) if job.limit.key != "held"]
        session.exchange(claimer, [succeeded(job) for job in jobs], NO_ROOM)
        SemaphoreHolder.objects.filter(key="waited for").delete()
        BlockedExecution.objects.create(
            job_id=jobs[0].id, concurrency_key="waited for", expires_at=later
        )
        Semaphore.objects.exclude(key="young").update(expires_at=LONG_AGO)

        found = session.see_slots(lambda slots: slots.unused(100))
        removed = session.in_slots(lambda slots: slots.remove_unused([*found, "young", "held"]))

        assert (found, removed) == (["old"], 1)
        kept = {"held", "waited for", "young", "coming"}
        assert set(Semaphore.objects.values_list("key", flat=True)) == kept

    def _column(self, job_id):
        return job_id if connection.features.has_native_uuid_field else job_id.hex


class TestTogether:
    """Two connections at a time."""

    def test_two_enqueues_never_take_the_same_slot(self, store, in_threads):
        def put():
            return list(store.insert_limited("default", [limited() for _ in range(5)]).outcomes)

        found = in_threads(*[put] * 4)

        assert Counter(outcome for outcomes in found for outcome in outcomes)[READY] == 1
        assert held() == 1

    def test_an_end_and_an_enqueue_never_miss_each_other(
        self, store, open_session, claimer, in_threads
    ):
        put = lambda: store.insert_limited("default", [limited()])  # noqa: E731 - reads like a sentence
        put()
        session = open_session()
        for _ in range(20):
            [job] = claim(session, claimer)
            in_threads(lambda: session.exchange(claimer, [succeeded(job)], NO_ROOM), put)  # noqa: B023

            assert ReadyExecution.objects.count() == 1
            assert not BlockedExecution.objects.exists()

    def test_workers_that_end_jobs_of_the_same_keys_lose_no_slot(
        self, put, open_session, make_claimer, in_threads
    ):
        keys = [f"key {n}" for n in range(6)]
        put(*[limited(key, 2) for key in keys * 10])

        def work(session, claimer, seen):
            while claimed := session.exchange(
                claimer, [succeeded(job) for job in seen], PLENTY
            ).claimed:
                seen[:] = claimed

        workers = [(open_session(), make_claimer(name=f"worker {n}"), []) for n in range(4)]
        in_threads(*[lambda each=each: work(*each) for each in workers])
        # Whoever came last found nothing, and may have left jobs that others made ready since.
        work(*workers[0])

        assert Job.objects.filter(finished_at=None).count() == 0
        assert not SemaphoreHolder.objects.exists()
        assert not BlockedExecution.objects.exists()
        assert set(Semaphore.objects.values_list("value", flat=True)) == {2}

    def test_no_key_is_locked_in_a_callers_transaction(self, store, put, session, claimer):
        put(limited())
        [job] = claim(session, claimer)

        with transaction.atomic():
            store.insert_limited("default", [limited()])
            if connection.vendor != "sqlite":
                # On SQLite nobody can write until the transaction ends, whatever it is about.
                assert list(session.exchange(claimer, [succeeded(job)], NO_ROOM).rejected) == []
