"""The walk that finds finished jobs: what it deletes and how, and when it looks again at what stays."""

import math
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from dj_queue.config import backend_config
from dj_queue.models import Job, RecurringExecution
from dj_queue.runtime.finished_walk import FinishedWalk, Left
from dj_queue.store import store_for
from tests.operations.old_jobs import DAY, make_finished, make_old

LOOK_EVERY = 60
KEPT = 36_000


class Clock:
    """Shows the time that it is told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_walk(clock):
    """Makes a walk for jobs that are kept for so many seconds."""

    def make(kept=KEPT):
        return FinishedWalk(backend_config("default"), kept, clock)

    return make


def clear(walk, size=10):
    """Look until there is nothing to look at; how many jobs went."""
    cleared = 0
    for _ in range(1000):
        if not walk.is_due:
            return cleared
        cleared += walk.clear_batch(size)
    raise AssertionError("the walk does not come to an end")


def finish(ids, *, ago=DAY):
    Job.objects.filter(pk__in=ids).update(finished_at=timezone.now() - ago)


def about_jobs(statements):
    return [each["sql"] for each in statements if "dj_queue_jobs" in each["sql"]]


def test_what_stays_is_looked_at_ever_more_rarely(make_walk, clock, count_statements):
    make_old(25)
    walk = make_walk()
    looks = []

    for _ in range(4):
        with count_statements() as statements:
            assert clear(walk) == 0
        looks.append(len(about_jobs(statements)) > 1)
        clock.now += LOOK_EVERY

    assert looks == [True, True, False, True]


def test_a_job_that_ended_late_goes_with_a_later_look(make_walk, clock):
    ids = make_old(3)
    walk = make_walk()
    clear(walk)
    finish(ids[1:2])

    assert clear(walk) == 0
    clock.now += LOOK_EVERY
    assert clear(walk) == 1


def test_looks_follow_the_front_of_a_backlog_that_is_worked_off(make_walk, clock):
    """However rarely anybody had looked before it began."""
    ids = make_old(40)
    walk = make_walk()
    for _ in range(20):
        clear(walk)
        clock.now += LOOK_EVERY
    finish(ids[:10])
    clock.now += 3600
    assert clear(walk) == 10

    for first in (10, 20, 30):
        finish(ids[first : first + 10])
        clock.now += LOOK_EVERY
        assert clear(walk) == 10


def test_jobs_that_end_go_while_the_walk_is_still_under_way(make_walk, clock):
    """With a million jobs before it the walk takes long."""
    ids = make_old(200, ago=3 * DAY)
    walk = make_walk()
    walk.clear_batch(10)
    finish(ids[:10])
    clock.now += LOOK_EVERY

    assert [walk.clear_batch(10) for _ in range(2)] == [10, 0]


def test_many_that_stay_are_looked_at_with_one_statement(make_walk, count_statements):
    make_old(200)
    walk = make_walk()

    with count_statements() as statements:
        assert clear(walk) == 0

    # Ten of them, twenty, forty, eighty and the rest; each count with the place of its last one.
    assert len(about_jobs(statements)) == 2 * 4 + 1


def test_what_stays_of_many_stretches_is_one(make_walk):
    for hours in range(20):
        make_finished(9, ago=2 * DAY - timedelta(hours=hours))
        make_old(1, ago=2 * DAY - timedelta(hours=hours, minutes=-1))
    walk = make_walk()

    assert clear(walk) == 180

    assert [left.jobs for left in walk._left] == [10, 10]


@pytest.mark.parametrize("is_finished", [False, True])
def test_jobs_that_were_not_there_when_the_walk_passed_are_found(make_walk, clock, is_finished):
    """More of them than a batch has: a transaction may commit long after it has made its ids."""
    make_finished(5)
    walk = make_walk()
    assert clear(walk) == 5
    ids = make_finished(25, ago=3 * DAY) if is_finished else make_old(25, ago=3 * DAY)

    clock.now += LOOK_EVERY
    assert clear(walk) == (25 if is_finished else 0)

    finish(ids)
    clock.now += 3600
    assert clear(walk) == (0 if is_finished else 25)


@pytest.mark.parametrize(("make", "counts"), [(make_finished, False), (make_old, True)])
def test_only_time_in_which_nothing_was_deleted_puts_off_the_next_look(make, counts):
    """Else, with many that end late, looks would become ever rarer and the table ever longer."""
    make(100)
    walk = FinishedWalk(backend_config("default"), KEPT)

    walk.clear_batch(100)

    assert (walk._left[0].reading > 0.0) is counts


def test_much_that_is_read_in_vain_is_read_rarely(make_walk, clock):
    make_old(2)
    waits = []
    for seconds in (0.0, 0.5):
        walk = make_walk(60)
        clear(walk)
        walk._left.append(Left(UUID(int=2**128 - 2), 10, math.inf, 0.0, reading=seconds))
        for _ in range(20):
            clock.now += 100
            clear(walk)
        waits.append(walk._left[0].wait)

    assert waits[0] == 60 / 10
    assert waits[1] == pytest.approx(50, rel=0.1)


@pytest.mark.parametrize("recorded", [False, True])
def test_a_stretch_of_jobs_that_are_all_due_goes_without_a_list_of_ids(
    recorded, make_walk, count_statements
):
    """However many there are; and by one upper bound, of two SQLite would search by the wrong one."""
    ids = make_finished(300)
    if recorded:
        RecurringExecution.objects.create(job_id=ids[0], task_key="k", run_at=timezone.now())
    walk = make_walk(3600)

    with count_statements() as statements:
        assert walk.clear_batch(200) == 200

    about_rows = [each["sql"] for each in statements if "dj_queue_" in each["sql"]]
    assert len(about_rows) == (5 if recorded else 4)
    delete = about_rows[-1]
    assert delete.startswith("DELETE")
    assert " IN (" not in delete
    column = connection.ops.quote_name("id")
    bounds = delete.partition("EXISTS")[0]
    assert bounds.count(f"{column} <") == 1
    assert Job.objects.count() == 100
    assert not RecurringExecution.objects.filter(job_id__isnull=False).exists()


def test_a_stretch_with_jobs_that_stay_loses_only_those_that_are_due(use_tasks, make_walk):
    use_tasks(default={}, other={})
    make_finished(3)
    stay = make_old(2) + make_finished(2, backend="other", ago=3 * DAY)
    kept = make_finished(1, ago=timedelta(hours=1))
    walk = make_walk(86_400)

    assert walk.clear_batch(100) == 3

    assert {job.pk for job in Job.objects.all()} == {*stay, *kept}


@pytest.mark.parametrize("stay", [1, 9])
def test_where_a_few_stay_there_is_no_list_of_ids_if_nobody_waits_for_them(stay, count_statements):
    make_finished(10 - stay)
    make_old(stay)
    waits = store_for("default").waits_for_passed_rows
    walk = FinishedWalk(backend_config("default"), KEPT)

    with count_statements() as statements:
        assert walk.clear_batch(100) == 10 - stay

    (delete,) = [each["sql"] for each in statements if each["sql"].startswith("DELETE")]
    assert (" IN (" in delete) is (waits or stay == 9)


def test_records_let_go_only_of_jobs_that_go(make_walk):
    gone, (stays,) = make_finished(4), make_old(1)
    for place, job in enumerate((*gone, stays)):
        RecurringExecution.objects.create(job_id=job, task_key=f"k{place}", run_at=timezone.now())

    assert make_walk().clear_batch(100) == 4

    held = RecurringExecution.objects.filter(job_id__isnull=False)
    assert [record.job_id for record in held] == [stays]
