"""A running scheduler: fires each time once, makes up what was missed, and survives bad entries."""

import sys
import threading
import time
from datetime import datetime, timedelta
from importlib import import_module

import pytest
from django.db import OperationalError, connection

from dj_queue import api, events, hooks
from dj_queue.exceptions import ConfigurationError, InvalidRecurringTask
from dj_queue.models import (
    FailedExecution,
    Job,
    Leadership,
    Process,
    RecurringExecution,
    RecurringTask,
)
from dj_queue.operations import declared
from dj_queue.runtime import firing
from dj_queue.runtime.scheduler import Scheduler
from dj_queue.store import store_for
from dj_queue.store.shared import from_column
from tests.runtime.test_leadership import Forced, count_calls
from tests.site import recurring_tasks
from tests.waiting import wait_until

NOOP = "tests.site.tasks.noop"
TELL = "tests.site.recurring_tasks.tell_time"
EACH_SECOND = "* * * * * *"
YEARLY = "0 3 1 1 * UTC"


def now():
    return store_for("default").now()


def entry(task_path=NOOP, schedule=EACH_SECOND, **options):
    return {"task_path": task_path, "schedule": schedule, **options}


def fired(key):
    rows = RecurringExecution.objects.filter(task_key=key).order_by("run_at")
    return [from_column(moment) for moment in rows.values_list("run_at", flat=True)]


def overdue(key, since, **options):
    """An entry whose next time has passed at *since*, as a scheduler that was stopped has left it."""
    api.schedule_recurring_task(key=key, **entry(**options))
    RecurringTask.objects.filter(key=key).update(next_run_at=since)


@pytest.fixture
def heard():
    seen = []
    kinds = (
        events.RecurringTaskFailed,
        events.RecurringTaskRejected,
        events.RecurringTimesMissed,
    )
    ends = [events.subscribe(kind, seen.append) for kind in kinds]
    yield seen
    for end in ends:
        end()


@pytest.fixture
def declarations(monkeypatch):
    """Declarations of a test, forgotten at its end."""
    known = dict(declared._declarations)
    monkeypatch.setattr(declared, "_declarations", known)
    return known


@pytest.fixture
def make_scheduler(make_runtime):
    """A runtime with nothing but a scheduler, unless more is asked for."""

    def make(*, dynamic=True, **options):
        given = {"workers": [], "dispatchers": [], **options}
        given.setdefault("scheduler", {})
        given["scheduler"] = {"dynamic_tasks_enabled": dynamic, **given["scheduler"]}
        return make_runtime(**given)

    return make


def test_each_second_is_fired_once_and_none_too_early(make_scheduler):
    make_scheduler(recurring={"tick": entry()})

    wait_until(lambda: len(fired("tick")) >= 4, seconds=30)

    times = fired("tick")
    assert times == [times[0] + timedelta(seconds=n) for n in range(len(times))]
    for job in Job.objects.select_related("recurring_execution"):
        run_at = from_column(job.recurring_execution.run_at)
        assert run_at <= from_column(job.created_at)


def test_jobs_run_and_know_their_time_in_any_executor(make_runtime, finished):
    recurring = {
        "plain": entry(TELL),
        "async": entry("tests.site.recurring_tasks.atell_time"),
        "failing": entry("tests.site.recurring_tasks.fail_with_time"),
    }
    make_runtime(recurring=recurring)

    wait_until(lambda: Job.objects.finished().count() >= 2 and FailedExecution.objects.exists())
    for row in RecurringExecution.objects.select_related("job", "job__failed_execution"):
        run_at = from_column(row.run_at)
        if row.job.finished_at is not None:
            assert datetime.fromisoformat(row.job.return_value) == run_at
        elif hasattr(row.job, "failed_execution"):
            assert datetime.fromisoformat(row.job.failed_execution.message) == run_at
    [other] = finished(recurring_tasks.tell_time.enqueue())
    assert other.return_value is None


def test_child_processes_know_the_time_too(make_runtime):
    make_runtime(workers=[{"executor": "process", "threads": 1}], recurring={"plain": entry(TELL)})

    wait_until(lambda: Job.objects.finished().exists(), seconds=30)
    row = RecurringExecution.objects.filter(job__finished_at__isnull=False)[0]
    assert datetime.fromisoformat(row.job.return_value) == from_column(row.run_at)


def test_declared_tasks_are_written_with_their_own_queue_and_priority(make_scheduler, declarations):
    sys.modules.pop("tests.site.declared_tasks", None)
    import_module("tests.site.declared_tasks")
    recurring = {"second": entry(schedule=YEARLY)}

    make_scheduler(dynamic=False, recurring=recurring)

    rows = wait_until(lambda: {row.key: row for row in RecurringTask.objects.all()})
    assert set(rows) == {"above", "below", "second", "tests.site.declared_tasks.without_key"}
    assert [(row.queue_name, row.priority) for row in map(rows.get, ("above", "below"))] == [
        ("sums", 4),
        ("others", -1),
    ]
    assert rows["above"].payload["args"] == [1]
    assert all(row.static for row in rows.values())
    # Settings win.
    assert (rows["second"].task_path, rows["second"].enabled) == (NOOP, True)


def test_tasks_modules_of_installed_apps_are_found_and_broken_ones_are_told(
    make_scheduler, declarations, heard, tmp_path, monkeypatch, settings
):
    text = (
        "from django.tasks import task\nfrom dj_queue.api import recurring\n"
        f"@recurring({YEARLY!r}, key='found')\n@task\ndef found(): return None\n"
    )
    for name, content in (("djq_good_app", text), ("djq_broken_app", "raise SystemExit(3)")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "tasks.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    settings.INSTALLED_APPS = ["djq_broken_app", *settings.INSTALLED_APPS, "djq_good_app"]

    make_scheduler()

    wait_until(lambda: RecurringTask.objects.filter(key="found", static=True).exists())
    [rejected] = wait_until(lambda: heard)
    assert str(rejected.error) == "djq_broken_app.tasks cannot be imported: 3"


def test_declaring_a_key_twice_is_an_error(declarations):
    @api.recurring(YEARLY)
    def task_function():
        return None

    with pytest.raises(InvalidRecurringTask, match=r"is taken by .* name another one with key="):
        api.recurring("@daily")(task_function)
    with pytest.raises(InvalidRecurringTask, match=r"'priority'\] must be a whole number"):
        api.recurring("@daily", key="other", priority="high")(task_function)


def test_bad_entries_are_told_and_the_others_fire(make_scheduler, heard, declarations, failures):
    @api.recurring(EACH_SECOND, key="local function")
    def no_task():
        return None

    recurring = {
        "missing task": entry("tests.site.tasks.gone"),
        "no task": entry("os.path.join"),
        "no schedule": entry(schedule="never ever"),
        "impossible": entry(schedule="0 0 31 2 *"),
        "good": entry(),
    }
    make_scheduler(recurring=recurring)

    wait_until(lambda: len(fired("good")) >= 2, seconds=30)
    assert {each.key for each in heard if type(each) is events.RecurringTaskRejected} == {
        "no schedule",
        "impossible",
        "local function",
    }
    failed = [each for each in heard if type(each) is events.RecurringTaskFailed]
    # Each once: they are tried again in a minute or so.
    assert sorted(each.key for each in failed) == ["missing task", "no task"]
    assert all(each.retry_in >= timedelta(seconds=30) for each in failed)
    assert failures == []


def test_row_with_a_broken_schedule_keeps_no_other_from_firing(make_scheduler, heard):
    overdue("broken", now() - timedelta(hours=1))
    RecurringTask.objects.update(schedule="0 0 1& * 1#5")
    api.schedule_recurring_task(key="good", **entry())

    make_scheduler()

    wait_until(lambda: len(fired("good")) >= 2, seconds=30)
    assert [each.key for each in heard] == ["broken"]
    assert fired("broken") == []


@pytest.mark.parametrize(
    ("catch_up", "limit", "count"),
    [("latest", 100, 1), ("all", 100, 6), ("all", 4, 4), ("skip", 100, 0)],
)
def test_after_a_downtime_what_was_missed_is_made_up_as_the_entry_says(
    make_scheduler, heard, catch_up, limit, count
):
    """Six times of an entry that comes each four hours."""
    times = [datetime(2026, 6, 1, hour, tzinfo=now().tzinfo) for hour in (0, 4, 8, 12, 16, 20)]
    overdue("each", times[0], schedule="0 */4 1 6 * UTC", catch_up=catch_up)
    overdue("marker", now() - timedelta(days=1), schedule=YEARLY)

    make_scheduler(scheduler={"catch_up_limit": limit})

    expected = times[len(times) - count :]
    wait_until(lambda: RecurringTask.objects.get(key="each").next_run_at > now(), seconds=30)
    wait_until(lambda: fired("each") == expected, seconds=30)
    told = [] if count == 6 else [(times[0], count)]
    wait_until(lambda: [(each.since, each.made_up) for each in heard if each.key == "each"] == told)


def test_no_time_from_before_the_entry_was_there_is_fired(make_scheduler):
    recurring = {"yearly": entry(schedule=YEARLY), "tick": entry()}
    written = now()
    make_scheduler(recurring=recurring)

    wait_until(lambda: len(fired("tick")) >= 2, seconds=30)
    assert fired("yearly") == []
    assert fired("tick")[0] > written


def test_dynamic_entries_fire_only_where_that_is_enabled(make_scheduler):
    overdue("dynamic", now() - timedelta(minutes=1))

    make_scheduler(dynamic=False, recurring={"static": entry()})

    wait_until(lambda: len(fired("static")) >= 2, seconds=30)
    assert fired("dynamic") == []


def test_entry_that_is_scheduled_in_this_process_wakes_the_scheduler(make_scheduler):
    runtime = make_scheduler(scheduler={"polling_interval": 600})
    wait_until(lambda: runtime.scheduler.is_leader)

    api.schedule_recurring_task(key="new", **entry())

    wait_until(lambda: fired("new"), seconds=10)


def test_entry_that_is_scheduled_elsewhere_wakes_the_scheduler(make_scheduler):
    """Where the database can call; elsewhere the scheduler looks at its interval."""
    interval = 600 if connection.vendor != "mysql" else 0.5
    runtime = make_scheduler(scheduler={"polling_interval": interval})
    wait_until(lambda: runtime.scheduler.is_leader)
    for end in runtime._unsubscribe:
        end()  # It hears of it only through the database.

    api.schedule_recurring_task(key="new", **entry())

    # Not the safety poll, which comes after 15 s.
    wait_until(lambda: fired("new"), seconds=10)


def test_entry_that_is_disabled_or_taken_away_fires_no_more(make_scheduler):
    for key in ("disabled", "gone", "stays"):
        api.schedule_recurring_task(key=key, **entry())
    make_scheduler()
    wait_until(lambda: all(fired(key) for key in ("disabled", "gone", "stays")), seconds=30)

    api.disable_recurring_task("disabled")
    api.unschedule_recurring_task("gone")

    after = now()
    wait_until(lambda: fired("stays")[-1] > after + timedelta(seconds=1), seconds=30)
    assert all(fired(key)[-1] <= after for key in ("disabled", "gone"))


def test_nothing_is_fired_again_when_finished_jobs_are_not_kept(make_runtime):
    make_runtime(preserve_finished_jobs=False, recurring={"tick": entry()})

    def is_done():
        rows = RecurringExecution.objects.filter(task_key="tick", job__isnull=True)
        return rows.count() >= 2

    wait_until(is_done, seconds=30)
    times = fired("tick")
    assert times == [times[0] + timedelta(seconds=n) for n in range(len(times))]


def test_two_schedulers_that_both_lead_fire_each_time_once(make_scheduler, monkeypatch, failures):
    monkeypatch.setattr(
        Scheduler,
        "make_lock",
        lambda actor, session: Forced(actor.backend_alias, actor.role, actor.holder),
    )
    runtimes = [make_scheduler(recurring={"tick": entry()}) for _ in range(2)]
    wait_until(lambda: all(runtime.scheduler.is_leader for runtime in runtimes))

    wait_until(lambda: len(fired("tick")) >= 3, seconds=30)

    times = fired("tick")
    assert times == [times[0] + timedelta(seconds=n) for n in range(len(times))]
    assert Job.objects.count() == len(times)
    assert failures == []


def test_one_of_two_leads_and_the_other_takes_over(make_scheduler):
    first, second = (make_scheduler(recurring={"tick": entry(catch_up="all")}) for _ in range(2))
    wait_until(lambda: first.scheduler.is_leader or second.scheduler.is_leader)
    if second.scheduler.is_leader:
        first, second = second, first
    wait_until(lambda: fired("tick"))

    first.stop(5)

    wait_until(lambda: second.scheduler.is_leader, seconds=10)
    count = len(fired("tick"))
    wait_until(lambda: len(fired("tick")) >= count + 2, seconds=30)
    times = fired("tick")
    assert times == [times[0] + timedelta(seconds=n) for n in range(len(times))]
    assert Leadership.objects.get(role="scheduler").term == 2


def test_idle_scheduler_does_not_look(make_scheduler, monkeypatch):
    runtime = make_scheduler(
        recurring={"yearly": entry(schedule=YEARLY)}, scheduler={"polling_interval": 600}
    )
    wait_until(lambda: runtime.scheduler.is_leader)
    # On SQLite each write, also that somebody leads, makes it look once.
    wait_until(lambda: Leadership.objects.filter(role="scheduler").exists())
    looks = count_calls(monkeypatch, runtime.scheduler, "lead")

    until = time.monotonic() + 1.5
    wait_until(lambda: time.monotonic() > until)

    assert len(looks) <= 2


def test_scheduler_is_registered_with_hooks_and_what_it_does(make_scheduler):
    called = []
    for moment in ("start", "stop", "exit"):
        hooks.register_hook(
            f"scheduler.{moment}", lambda process, at=moment: called.append((at, process.name))
        )
    try:
        runtime = make_scheduler(recurring={"yearly": entry(schedule=YEARLY)})
        row = Process.objects.get(kind="Scheduler")
        runtime.stop()
    finally:
        hooks.clear_hooks()

    assert row.name.startswith("scheduler-1@")
    assert {key: row.metadata[key] for key in ("polling_interval", "static_task_count")} == {
        "polling_interval": 5.0,
        "static_task_count": 1,
    }
    assert row.metadata["dynamic_tasks_enabled"] is True
    assert called == [(moment, row.name) for moment in ("start", "stop", "exit")]


def test_there_is_a_scheduler_only_where_it_has_something_to_do(make_runtime, declarations):
    nothing = {
        "clear_finished_jobs_after": None,
        "workers": [],
        "started": False,
        "clear_statistics_after": None,
    }

    assert make_runtime(**nothing).scheduler is None
    assert make_runtime(started=False).scheduler is not None  # Old jobs are cleared away.
    assert make_runtime(**nothing, recurring={"a": entry()}).scheduler is not None
    dynamic = {"dynamic_tasks_enabled": True}
    assert make_runtime(**nothing, scheduler=dynamic).scheduler is not None
    with pytest.raises(ConfigurationError, match="nothing for a scheduler"):
        make_runtime(**nothing, dispatchers=[])


def test_process_that_leaves_recurring_tasks_to_others_has_no_scheduler(monkeypatch, make_runtime):
    monkeypatch.setenv("DJ_QUEUE_SKIP_RECURRING", "1")

    runtime = make_runtime(started=False, recurring={"a": entry()})

    assert runtime.scheduler is None


def test_chore_that_fails_or_hangs_on_keeps_nothing_from_firing(make_scheduler, monkeypatch):
    calls, told = [], []

    class Broken:
        def work(self, until=None):
            calls.append(until)
            raise ValueError("no")

    monkeypatch.setattr("dj_queue.runtime.scheduler._chore", lambda config: Broken())
    end = events.subscribe(events.ChoreFailed, told.append)
    make_scheduler(recurring={"tick": entry()})

    wait_until(lambda: len(fired("tick")) >= 2, seconds=30)
    end()
    assert [str(each.error) for each in told] == ["no"]
    assert len(calls) == 1


def test_database_that_fails_for_a_moment_costs_no_time(make_scheduler, monkeypatch, failures):
    real, broken = firing.fire, threading.Event()

    def fire(*args):
        if not broken.is_set():
            broken.set()
            raise OperationalError("gone")
        return real(*args)

    monkeypatch.setattr(firing, "fire", fire)
    make_scheduler(recurring={"tick": entry(catch_up="all")})

    wait_until(lambda: len(fired("tick")) >= 2, seconds=30)
    assert broken.is_set()
    assert [str(each.error) for each in failures] == ["gone"]
    times = fired("tick")
    assert times == [times[0] + timedelta(seconds=n) for n in range(len(times))]
