"""What has run is counted in the table of statistics, once, and for good."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import Max
from django.utils import timezone

from dj_queue import events
from dj_queue.config import load_backend_config
from dj_queue.ids import new_job_id
from dj_queue.models import Statistic
from dj_queue.models.statistics import FAILURE, OTHER_ERRORS, OTHER_TASKS, TOTALS, hour_of
from dj_queue.operations.statistics import clear_statistics
from dj_queue.reads import occurrences
from dj_queue.runtime import statistics
from dj_queue.runtime.recovery import Recovery
from dj_queue.runtime.statistics import Statistics
from dj_queue.selectors import EVERYTHING
from dj_queue.store import store_for
from dj_queue.store.records import ClaimedJob, Claimer, JobError, Outcome, ProcessRecord, Room
from dj_queue.store.statistics import NUMBERS, OccurrenceRow, StatisticRow
from tests.runtime.conftest import failures, finished, make_runtime  # noqa: F401
from tests.site import poison, tasks
from tests.waiting import wait_until

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = int(NOON.timestamp()) // 60


@pytest.fixture
def session():
    with store_for("default").open_session("default") as opened:
        yield opened


@pytest.fixture(autouse=True)
def nothing_counted():
    """What other tests have left behind in this process."""
    tallies = statistics._tallies_of("default")
    tallies.take()
    tallies.take_occurrences()
    tallies._tasks.clear()
    tallies._errors.clear()


@pytest.fixture
def counting(nothing_counted):
    return Statistics(load_backend_config("default"))


def attempt(*, task="app.tasks.one", queue="default", took=0.2, waited=0.0, **fields):
    given = {
        "created_at": NOON - timedelta(seconds=waited),
        "scheduled_at": None,
        "worker_ids": None,
        "failed": False,
        **fields,
    }
    job = ClaimedJob(
        id=new_job_id(),
        token=1,
        task_path=task,
        queue_name=queue,
        priority=0,
        executor=0,
        payload={},
        created_at=given["created_at"],
        scheduled_at=given["scheduled_at"],
        worker_ids=given["worker_ids"],
        errors=None,
        first_started_at=None,
    )
    error = JobError(given.get("error", "builtins.ValueError"), "", "") if given["failed"] else None
    return Outcome(job, NOON, NOON + timedelta(seconds=took), error=error)


def ended(*attempts, backend="default"):
    events.emit(events.AttemptsRecorded(backend, attempts))


def row(**key):
    return Statistic.objects.get(**{"minute": TOTALS, **key})


def test_attempts_are_counted_by_minute_hour_queue_and_task(counting, session):
    ended(attempt(), attempt(failed=True), attempt(task="app.tasks.two"), attempt(queue="mail"))

    counting.write(session)

    assert set(Statistic.objects.values_list("minute", "queue_name", "task_path")) == {
        (minute, queue, task)
        for minute in (TOTALS, hour_of(MINUTE), MINUTE)
        for queue, task in (
            ("default", "app.tasks.one"),
            ("default", "app.tasks.two"),
            ("mail", "app.tasks.one"),
        )
    }
    both = row(minute=MINUTE, queue_name="default", task_path="app.tasks.one")
    assert (both.finished, both.failed, both.retried) == (1, 1, 0)


def test_minutes_add_up_to_hours(counting, session):
    for minutes in (0, 59, 60):
        later = NOON + timedelta(minutes=minutes)
        outcome = attempt()
        ended(replace(outcome, started_at=later, finished_at=later))
    counting.write(session)

    hours = Statistic.objects.filter(minute__lt=TOTALS).order_by("-minute")
    assert list(hours.values_list("minute", "finished")) == [
        (hour_of(MINUTE), 2),
        (hour_of(MINUTE) - 1, 1),
    ]


def test_rows_grow_by_what_is_added(session):
    ones = StatisticRow(MINUTE, "default", "app.tasks.one", tuple(1 for _ in NUMBERS))
    other = StatisticRow(MINUTE, "mail", "app.tasks.one", tuple(2 for _ in NUMBERS))

    session.add_statistics([ones])
    session.add_statistics([ones, other])

    kept = Statistic.objects.order_by("queue_name")
    assert [[getattr(each, name) for name in NUMBERS] for each in kept] == [
        [2] * len(NUMBERS),
        [2] * len(NUMBERS),
    ]


def test_what_was_written_is_not_written_again(counting, session):
    ended(attempt())
    counting.write(session)
    counting.write(session)

    assert row().finished == 1


def test_durations_and_waits_fall_into_buckets_up_to_and_with_their_bound(counting, session):
    ended(attempt(took=0.01, waited=3), attempt(took=0.011, waited=4000), attempt(took=90_000))

    counting.write(session)

    kept = row()
    assert (kept.duration_0, kept.duration_1, kept.duration_12) == (1, 1, 1)
    assert (kept.wait_0, kept.wait_5, kept.wait_12) == (1, 1, 1)
    assert kept.duration_sum == pytest.approx(90_000.021)
    assert kept.wait_sum == pytest.approx(4003)


def test_a_wait_begins_when_the_job_could_run(counting, session):
    ended(attempt(waited=500, scheduled_at=NOON - timedelta(seconds=2)))
    ended(attempt(waited=7, scheduled_at=NOON - timedelta(seconds=500)))

    counting.write(session)

    assert row().wait_sum == pytest.approx(9)


def test_later_attempts_are_retries_and_have_no_wait(counting, session):
    ended(attempt(waited=500, worker_ids=["worker-1"]))

    counting.write(session)

    kept = row()
    assert (kept.finished, kept.retried, kept.wait_sum) == (1, 1, 0)
    assert sum(getattr(kept, f"wait_{number}") for number in range(13)) == 0


def test_paths_that_do_not_fit_and_one_too_many_are_others(counting, session, monkeypatch):
    monkeypatch.setattr(statistics, "_MOST_TASKS", 0)
    monkeypatch.setattr(statistics._tallies_of("default"), "_tasks", {"known": "known"})
    ended(attempt(task="known"), attempt(task="one.too.many"), attempt(task="x" * 300))

    counting.write(session)

    assert dict(Statistic.objects.filter(minute=TOTALS).values_list("task_path", "finished")) == {
        "known": 1,
        OTHER_TASKS: 2,
    }


def test_many_keys_are_written_whole(counting, session):
    ended(*(attempt(task=f"app.tasks.t{number}") for number in range(450)))

    counting.write(session)

    assert Statistic.objects.filter(minute=TOTALS).count() == 450
    assert Statistic.objects.filter(minute=MINUTE).count() == 450


def test_what_the_database_does_not_take_is_kept(counting, session):
    ended(attempt())
    with pytest.raises(RuntimeError):
        counting.write(_Refusing())
    ended(attempt())

    counting.write(session)

    assert row().finished == 2


def test_other_backends_are_not_counted(counting, session):
    ended(attempt(), backend="other")

    counting.write(session)

    assert not Statistic.objects.exists()


def test_processes_add_to_the_same_rows(counting, session):
    with store_for("default").open_session("other") as others:
        one = StatisticRow(TOTALS, "default", "app.tasks.one", tuple(1 for _ in NUMBERS))
        session.add_statistics([one])
        others.add_statistics([one])

    assert set(Statistic.objects.values_list("backend_alias", "finished")) == {
        ("default", 1),
        ("other", 1),
    }


def test_a_runtime_writes_what_it_ran_when_it_stops(make_runtime, finished):  # noqa: F811
    runtime = make_runtime()
    results = [tasks.add.enqueue(1, number) for number in range(20)]
    results.append(poison.raise_text.enqueue("a word"))
    finished(*results)

    runtime.stop(10)
    wait_until(lambda: Statistic.objects.filter(minute=TOTALS).count() == 2)

    assert row(task_path="tests.site.tasks.add").finished == 20
    failed = row(task_path="tests.site.poison.raise_text")
    assert (failed.finished, failed.failed) == (0, 1)
    assert sum(getattr(failed, f"duration_{number}") for number in range(13)) == 1


def test_a_runtime_writes_while_it_runs(make_runtime, finished, monkeypatch):  # noqa: F811
    monkeypatch.setattr(statistics, "WRITE_SECONDS", 0.0)
    make_runtime()
    finished(tasks.add.enqueue(1, 1))

    assert wait_until(lambda: Statistic.objects.filter(minute=TOTALS).first()).finished == 1


def test_counting_can_be_turned_off(make_runtime, finished):  # noqa: F811
    runtime = make_runtime(statistics=False)
    finished(tasks.add.enqueue(1, 1))

    runtime.stop(10)

    assert not Statistic.objects.exists()


def minutes_ago(number):
    minute = int(timezone.now().timestamp()) // 60 - number
    for backend in ("default", "other"):
        Statistic.objects.create(
            backend_alias=backend, minute=minute, queue_name="default", task_path="t", finished=1
        )
    return minute


def test_old_minutes_go_and_totals_stay():
    minutes_ago(30)
    young = minutes_ago(10)
    this_hour = hour_of(int(timezone.now().timestamp()) // 60)
    for kept in (TOTALS, this_hour):
        Statistic.objects.create(
            backend_alias="default", minute=kept, queue_name="default", task_path="t", finished=2
        )

    assert clear_statistics(older_than=20 * 60) == 1
    assert clear_statistics(older_than=20 * 60) == 0

    left = Statistic.objects.filter(backend_alias="default")
    assert set(left.values_list("minute", flat=True)) == {TOTALS, this_hour, young}
    assert Statistic.objects.filter(backend_alias="other").count() == 2


def test_old_hours_go_when_they_are_over():
    now = timezone.now()
    for hours in range(6):
        minute = int((now - timedelta(hours=hours)).timestamp()) // 60
        Statistic.objects.create(
            backend_alias="default", minute=hour_of(minute), queue_name="default", task_path="t"
        )

    assert clear_statistics(older_than=3 * 3600) == 2

    first_kept = int((now - timedelta(hours=3)).timestamp()) // 60
    kept = Statistic.objects.aggregate(oldest=Max("minute"))["oldest"]
    assert kept == hour_of(first_kept)


def test_they_go_in_batches():
    for number in range(20, 24):
        oldest = minutes_ago(number)
    Statistic.objects.create(
        backend_alias="default", minute=hour_of(oldest) + 1, queue_name="default", task_path="t"
    )

    assert [clear_statistics(older_than=60, batch_size=3) for _ in range(3)] == [3, 2, 0]


def test_the_leader_clears_old_minutes(make_runtime):  # noqa: F811
    minutes_ago(60)

    make_runtime(clear_statistics_after=600)

    wait_until(lambda: not Statistic.objects.filter(backend_alias="default").exists())


def test_jobs_that_are_lost_with_their_process_count_as_failed(counting, session):
    lost = session.register([ProcessRecord("lost", "Worker", 1, "host")])["lost"]
    tasks.add.enqueue(1, 1)
    claimer = Claimer("default", EVERYTHING, lost, "lost")
    assert session.exchange(claimer, (), Room(1, 0)).claimed

    config = load_backend_config("default")
    Recovery(config).settle(session, [lost], "lost", None)
    counting.write(session)

    kept = row()
    assert (kept.finished, kept.failed) == (0, 1)


def counting_errors(most):
    config = load_backend_config("default")
    return Statistics(replace(config, options=replace(config.options, statistics_errors=most)))


def failed(error="builtins.ValueError", **given):
    return attempt(failed=True, error=error, **given)


def by_error(most=10):
    return occurrences.failures("default", "default", most)


def test_failures_are_counted_by_class_where_that_is_asked_for(counting, session):
    ended(failed())
    counting.write(session)
    assert by_error() == {}

    counting = counting_errors(10)
    ended(failed(), attempt(), failed(), failed("app.Bad", queue="mail"), backend="default")
    ended(failed(), backend="another")
    counting.write(session)
    ended(failed())
    counting.write(session)

    assert by_error() == {
        ("default", "app.tasks.one", "builtins.ValueError"): 3,
        ("mail", "app.tasks.one", "app.Bad"): 1,
    }
    assert row(queue_name="default").failed == 4


def test_classes_of_errors_are_bounded_in_each_process_and_in_what_is_told(counting, session):
    counting = counting_errors(2)
    ended(*(failed(f"app.Error{number}") for number in range(5)), failed("app." + "e" * 300))
    counting.write(session)
    assert {key[2]: count for key, count in by_error(2).items()} == {
        "app.Error0": 1,
        "app.Error1": 1,
        OTHER_ERRORS: 4,
    }

    # Another process has seen others.
    session.add_statistics([OccurrenceRow(FAILURE, "default", "app.tasks.one", "app.Late", 7)])
    assert {key[2]: count for key, count in by_error(2).items()} == {
        "app.Error0": 1,
        "app.Error1": 1,
        OTHER_ERRORS: 11,
    }


def test_times_that_are_not_made_up_are_counted(counting, session):
    for backend in ("default", "default", "another"):
        events.emit(events.RecurringTimesMissed(backend, "nightly", NOON, 0))
    counting.write(session)

    assert occurrences.missed("default", "default") == {"nightly": 2}
    assert occurrences.missed("default", "another") == {}


def test_occurrences_that_could_not_be_written_are_kept(session):
    counting = counting_errors(10)
    ended(failed())
    with pytest.raises(RuntimeError):
        counting.write(_RefusingOccurrences())
    counting.write(session)

    assert sum(by_error().values()) == 1


class _RefusingOccurrences:
    def add_statistics(self, rows):
        if isinstance(rows[0], OccurrenceRow):
            raise RuntimeError  # noqa: TRY004


class _Refusing:
    def add_statistics(self, rows):
        raise RuntimeError
