"""Recurring tasks are written down, fired once each, and never for a time from before they were there."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, connections, transaction
from django.tasks import task_backends
from django.test.utils import CaptureQueriesContext

from dj_queue import api, events
from dj_queue.config import backend_config
from dj_queue.config.recurring import RecurringTaskConfig
from dj_queue.exceptions import EnqueueError, InvalidRecurringTask
from dj_queue.models import Job, ReadyExecution, RecurringExecution, RecurringTask
from dj_queue.operations.recurring import fire_recurring_task, upsert_static_recurring_tasks
from dj_queue.store import store_for
from dj_queue.store.shared import from_column

ADD = "tests.site.tasks.add"
LATER = "0 3 1 1 *"


def now():
    return store_for("default").now()


def config(key="sums", **options):
    given = {"task_path": ADD, "schedule": LATER, "args": (1, 2), **options}
    return RecurringTaskConfig(key, **given)


def write(*configs):
    return upsert_static_recurring_tasks(configs, backend_alias="default")


def schedule(key="sums", **options):
    given = {"task_path": ADD, "schedule": LATER, "args": [1, 2], **options}
    return api.schedule_recurring_task(key=key, **given)


def next_run(key="sums"):
    return from_column(RecurringTask.objects.get(key=key).next_run_at)


class TestFiring:
    def test_enqueues_the_job_and_records_it(self):
        row = schedule(queue_name="sums", priority=7)
        at = datetime(2030, 1, 1, 2, tzinfo=UTC)

        fired = fire_recurring_task(row, at, backend_alias="default")

        job = Job.objects.get()
        assert (fired.task_key, fired.run_at, fired.job_id) == ("sums", at, job.id)
        assert (job.task_path, job.queue_name, job.priority) == (ADD, "sums", 7)
        assert (job.payload["args"], job.backend_alias) == ([1, 2], "default")
        assert ReadyExecution.objects.filter(job=job).exists()
        assert RecurringExecution.objects.get().job_id == job.id

    def test_happens_once_for_a_time(self):
        row = schedule()
        at = now()

        assert fire_recurring_task(row, at) is not None
        assert fire_recurring_task(row, at) is None
        assert fire_recurring_task(row, at + timedelta(seconds=1)) is not None
        assert Job.objects.count() == RecurringExecution.objects.count() == 2

    def test_happens_once_for_a_time_when_several_try_at_once(self):
        row, at, found = schedule(), now(), []
        barrier = threading.Barrier(4)

        def fire():
            try:
                barrier.wait(10)
                found.append(fire_recurring_task(row, at))
            finally:
                connections.close_all()

        threads = [threading.Thread(target=fire) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert len(found) == 4
        assert len([each for each in found if each is not None]) == 1
        assert Job.objects.count() == 1

    def test_moves_the_entry_on_but_never_back(self):
        row = schedule(schedule="0 * * * *", timezone="UTC")
        first = next_run()

        fire_recurring_task(row, first - timedelta(hours=5))
        assert next_run() == first
        fire_recurring_task(row, first)
        assert next_run() == first + timedelta(hours=1)

    @pytest.mark.parametrize("change", ["schedule", "zone", "disabled", "deleted"])
    def test_of_what_was_changed_meanwhile_does_not_happen(self, change):
        row = schedule()
        match change:
            case "schedule":
                schedule(schedule="0 4 1 1 *")
            case "zone":
                schedule(timezone="Asia/Tokyo")
            case "disabled":
                api.disable_recurring_task("sums")
            case "deleted":
                api.unschedule_recurring_task("sums")

        assert fire_recurring_task(row, now()) is None
        assert not Job.objects.exists()
        assert not RecurringExecution.objects.exists()

    def test_is_undone_with_the_callers_transaction(self):
        row, at = schedule(), now()
        heard = []
        end = events.subscribe(events.RecurringTaskFired, heard.append)

        with transaction.atomic():
            fire_recurring_task(row, at)
            transaction.set_rollback(True)

        end()
        assert not Job.objects.exists()
        assert heard == []
        assert fire_recurring_task(row, at) is not None

    def test_is_not_repeated_when_the_job_is_deleted(self):
        row, at = schedule(), now()
        fire_recurring_task(row, at)
        Job.objects.all().delete()

        assert RecurringExecution.objects.get().job_id is None
        assert fire_recurring_task(row, at) is None

    @pytest.mark.only_on("postgresql")
    def test_costs_the_same_however_many_entries_there_are(self):
        row = schedule()
        write(*[config(f"entry {n}") for n in range(50)])
        at = now()
        fire_recurring_task(row, at)

        with CaptureQueriesContext(connection) as queries:
            fire_recurring_task(row, at + timedelta(seconds=1))

        # BEGIN, the entry, the job, the record, COMMIT.
        assert len(queries) <= 5, [query["sql"] for query in queries]

    def test_of_a_missing_task_is_an_error_and_writes_nothing(self):
        row = schedule()
        row.task_path = "tests.site.tasks.gone"

        with pytest.raises(ImportError, match=r"tests\.site\.tasks\.gone cannot be imported"):
            fire_recurring_task(row, now())
        assert not RecurringExecution.objects.exists()


class TestStaticEntries:
    def test_are_inserted_changed_and_deleted(self):
        assert write(config("a"), config("b", description="old"), config("c")) == []
        kept = RecurringTask.objects.get(key="a")
        write(config("a"), config("b", description="new"), config("d"))

        assert {row.key: row.description for row in RecurringTask.objects.all()} == {
            "a": "",
            "b": "new",
            "d": "",
        }
        assert all(RecurringTask.objects.values_list("static", flat=True))
        after = RecurringTask.objects.get(key="a")
        assert (after.pk, after.updated_at) == (kept.pk, kept.updated_at)

    def test_that_did_not_change_cost_no_write(self):
        entries = [config(f"entry {n}") for n in range(20)]
        write(*entries)

        with CaptureQueriesContext(connection) as queries:
            write(*entries)

        texts = [query["sql"].split()[0] for query in queries]
        assert set(texts) <= {"SELECT"}
        assert len(texts) <= 2

    def test_begin_with_the_first_time_after_they_were_written(self):
        before = now()
        write(config(schedule="* * * * *", timezone="UTC"))

        assert before < next_run() <= before + timedelta(seconds=70)

    def test_keep_their_next_time_unless_their_times_change(self):
        write(config(schedule="0 * * * *", timezone="UTC"))
        waiting = next_run() - timedelta(hours=3)
        RecurringTask.objects.update(next_run_at=waiting)

        write(config(schedule="0 * * * *", timezone="UTC", args=(3, 4)))
        assert next_run() == waiting
        write(config(schedule="30 * * * *", timezone="UTC"))
        assert next_run() > now()

    def test_follow_the_time_zone_of_the_project(self, settings):
        settings.TIME_ZONE = "UTC"
        write(config(schedule="0 3 * * *"))
        assert next_run().hour == 3

        settings.TIME_ZONE = "Asia/Tokyo"
        write(config(schedule="0 3 * * *"))

        assert next_run().astimezone(UTC).hour == 18
        assert next_run() > now()

    def test_that_are_bad_are_told_and_keep_no_other_from_being_written(self):
        schedule("taken")
        rejected = write(
            config("bad", schedule="0 0 31 2 *"),
            config("taken"),
            config("unstorable", args=(object(),)),
            config("good"),
        )

        assert {each.key for each in rejected} == {"bad", "taken", "unstorable"}
        assert all(isinstance(each.error, EnqueueError) for each in rejected)
        assert set(RecurringTask.objects.filter(static=True).values_list("key", flat=True)) == {
            "good"
        }
        assert not RecurringTask.objects.get(key="taken").static

    def test_leave_dynamic_ones_alone(self):
        schedule("mine")
        write(config("a"))
        write()

        assert list(RecurringTask.objects.values_list("key", flat=True)) == ["mine"]

    def test_may_be_written_by_several_at_once(self):
        entries = [config(f"entry {n}") for n in range(5)]
        barrier, errors = threading.Barrier(3), []

        def run():
            try:
                barrier.wait(10)
                write(*entries)
            except Exception as error:  # noqa: BLE001 - the test looks at it
                errors.append(error)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert errors == []
        assert RecurringTask.objects.count() == 5

    def test_tell_who_fires_that_they_changed(self):
        heard = []
        end = events.subscribe(events.RecurringTasksChanged, heard.append)
        write(config("a"))
        write(config("a"))
        end()

        assert heard == [events.RecurringTasksChanged("default", "default")]


class TestDynamicEntries:
    def test_are_written_with_what_was_given(self):
        row = schedule(
            schedule="0 3 * * * UTC",
            kwargs={"b": 2},
            args=[1],
            queue_name="sums",
            priority=-5,
            description="each night",
            catch_up="all",
        )

        row.refresh_from_db()
        assert (row.key, row.task_path, row.schedule, row.static) == (
            "sums",
            ADD,
            "0 3 * * * UTC",
            False,
        )
        assert (row.payload["args"], row.payload["kwargs"]) == ([1], {"b": 2})
        assert (row.queue_name, row.priority, row.description) == ("sums", -5, "each night")
        assert (row.catch_up, row.enabled, row.backend_alias) == ("all", True, "default")
        assert from_column(row.next_run_at) > now()

    def test_are_changed_in_their_place_and_only_new_times_start_anew(self):
        first = schedule(schedule="0 * * * *", timezone="UTC")
        waiting = from_column(first.next_run_at) - timedelta(hours=2)
        RecurringTask.objects.update(next_run_at=waiting)

        assert schedule(schedule="0 * * * *", timezone="UTC", priority=3).pk == first.pk
        assert next_run() == waiting
        schedule(schedule="0 * * * *", timezone="Asia/Kolkata")
        assert next_run() > now()
        assert RecurringTask.objects.count() == 1

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ({"key": ""}, "text of 1 to 255"),
            ({"key": 7}, "text of 1 to 255"),
            ({"key": "x" * 256}, "text of 1 to 255"),
            ({"key": "a\0b"}, "text of 1 to 255"),
            ({"task_path": None}, "'task_path'"),
            ({"task_path": "tests.site.tasks.gone"}, "cannot be imported"),
            ({"task_path": "tests.site.nothing.at_all"}, "cannot be imported"),
            ({"task_path": "os.path.join"}, "not a task"),
            ({"schedule": ""}, "'schedule'"),
            ({"schedule": "soon"}, "is no schedule"),
            ({"schedule": "0 0 31 2 *"}, "never comes"),
            ({"schedule": "0 3 * * *", "timezone": "Europe/Nowhere"}, "no time zone"),
            ({"args": "ab"}, "a list"),
            ({"args": [object()]}, "JSON has not"),
            ({"kwargs": [1]}, "a mapping"),
            ({"queue_name": ""}, "'queue_name'"),
            ({"queue_name": "q" * 65}, "'queue_name'"),
            ({"priority": 101}, "between -100 and 100"),
            ({"priority": "high"}, "between -100 and 100"),
            ({"catch_up": "some"}, "one of 'skip', 'latest', 'all'"),
        ],
    )
    def test_that_cannot_be_are_refused_with_the_reason(self, given, says):
        with pytest.raises(EnqueueError, match=says) as refused:
            schedule(**given)

        assert not RecurringTask.objects.exists()
        if "schedule" in given:
            assert isinstance(refused.value, ValidationError)

    def test_in_a_queue_that_is_not_allowed_are_refused(self, settings):
        settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": ["sums"]}}

        schedule(queue_name="sums")
        with pytest.raises(EnqueueError, match="Queue 'other' is not valid"):
            schedule("second", queue_name="other")

    def test_do_not_take_the_key_of_a_static_one(self, settings):
        write(config("a"))
        with pytest.raises(InvalidRecurringTask, match="comes from settings or a decorator"):
            schedule("a")

        options = {"recurring": {"b": {"task_path": ADD, "schedule": LATER}}}
        settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
        with pytest.raises(InvalidRecurringTask, match="comes from settings or a decorator"):
            schedule("b")
        assert RecurringTask.objects.get().static

    def test_are_taken_away_and_static_ones_are_not(self):
        row = schedule()
        fire_recurring_task(row, now())
        write(config("a"))

        assert api.unschedule_recurring_task("sums") == 1
        assert api.unschedule_recurring_task("sums") == 0
        assert api.unschedule_recurring_task("a") == 0
        assert RecurringTask.objects.get().key == "a"
        assert RecurringExecution.objects.count() == 1

    def test_are_undone_with_the_callers_transaction(self):
        with transaction.atomic():
            schedule()
            transaction.set_rollback(True)

        assert not RecurringTask.objects.exists()

    def test_are_written_whatever_the_clock_of_the_project(self, settings):
        connection.close()
        settings.USE_TZ = False
        try:
            row = schedule(schedule="* * * * *")
            row.refresh_from_db()
            assert timedelta(0) < from_column(row.next_run_at) - now() <= timedelta(minutes=1)
            assert fire_recurring_task(row, now()) is not None
        finally:
            connection.close()


class TestSwitches:
    def test_what_is_disabled_stays_so_whatever_settings_say(self):
        write(config("a"))

        assert api.disable_recurring_task("a") == 1
        write(config("a", description="changed"))
        row = RecurringTask.objects.get()
        assert (row.enabled, row.description) == (False, "changed")

    def test_what_is_enabled_again_starts_from_now(self):
        write(config(schedule="0 * * * *"))
        api.disable_recurring_task("sums")
        RecurringTask.objects.update(next_run_at=now() - timedelta(days=1))

        assert api.enable_recurring_task("sums") == 1
        row = RecurringTask.objects.get()
        assert (row.enabled, row.disabled_by_hand) == (True, False)
        assert next_run() > now()

    def test_settings_switch_off_and_on(self):
        write(config(enabled=False))
        assert not RecurringTask.objects.get().enabled
        write(config(enabled=True))
        assert RecurringTask.objects.get().enabled

    def test_there_is_nothing_to_switch_under_an_unknown_key(self):
        assert api.enable_recurring_task("gone") == api.disable_recurring_task("gone") == 0


class TestRunningNow:
    def test_enqueues_one_more_and_leaves_the_times_alone(self):
        schedule()
        waiting = next_run()

        first, second = (api.run_recurring_task_now("sums") for _ in range(2))

        assert first.id != second.id
        assert first.args == [1, 2]
        assert next_run() == waiting
        assert RecurringExecution.objects.count() == Job.objects.count() == 2

    def test_of_a_disabled_one_is_possible(self):
        schedule(enabled=False)

        assert api.run_recurring_task_now("sums").task.func.__name__ == "add"

    def test_of_an_unknown_one_is_an_error(self):
        with pytest.raises(InvalidRecurringTask, match="no recurring task 'gone'"):
            api.run_recurring_task_now("gone")


def test_outside_of_jobs_there_is_no_nominal_time():
    assert api.nominal_time() is None


def test_entry_that_is_bad_in_settings_breaks_no_enqueue(settings):
    recurring = {
        "missing": {"task_path": "no.such.task", "schedule": "0 3 * * *"},
        "no schedule": {"task_path": ADD, "schedule": "never ever"},
    }
    entry = {**settings.TASKS["default"], "OPTIONS": {"recurring": recurring}}
    settings.TASKS = {"default": entry}

    assert len(backend_config("default").options.recurring) == 2
    task_backends["default"].enqueue_all([])
    from tests.site.tasks import add

    assert add.enqueue(1, 2).id
