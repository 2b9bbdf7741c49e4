"""`manage.py dj_queue_health` tells the truth."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.utils import timezone, translation

from dj_queue.ids import new_job_id
from dj_queue.models import (
    ClaimedExecution,
    FailedExecution,
    Job,
    Leadership,
    Pause,
    Process,
    ReadyExecution,
    Semaphore,
)
from dj_queue.reads.tables import postgres_tables
from dj_queue.store import store_for
from dj_queue.store.records import ProcessRecord
from tests.runtime.conftest import failures, make_runtime  # noqa: F401 - fixtures for this file too
from tests.site import process_tasks, runtime_tasks, tasks
from tests.waiting import PATIENCE, wait_until


def health(*arguments):
    """What the command prints; raises `CommandError` with what is wrong."""
    output = StringIO()
    call_command("dj_queue_health", *arguments, stdout=output)
    return output.getvalue().strip()


def problem(*arguments):
    with pytest.raises(CommandError) as caught:
        health(*arguments)
    return str(caught.value)


def fall_silent(rows, seconds=301):
    rows.update(last_heartbeat_at=F("last_heartbeat_at") - timedelta(seconds=seconds))


@pytest.fixture(autouse=True)
def _vacuumed():
    """Tests before this one may have left more dead rows than autovacuum has had time for."""
    for table in postgres_tables("default") or ():
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM {table['table_name']}")


@pytest.fixture
def running(make_runtime):  # noqa: F811
    return make_runtime(workers=[{"queues": ["default", "mail*"], "threads": 1}])


def test_a_runtime_that_works_is_healthy(running):
    wait_until(Leadership.objects.exists)

    assert health() == "healthy"
    assert health("--deep") == "healthy"


def test_it_says_who_leads_when_asked_for_more(running):
    dispatcher = running.dispatchers[0].process_name
    wait_until(Leadership.objects.filter(process_name=dispatcher).exists)

    first, *leaders = health("--verbosity", "2").splitlines()

    assert first == "healthy"
    assert any(line.startswith(f"dispatcher: {dispatcher} leads since ") for line in leaders)
    assert Process.objects.get(name=dispatcher).leadership.term >= 1
    assert Process.objects.get(kind="Worker").leadership is None


def test_without_any_process_it_says_there_never_was_one():
    assert "no process runs jobs of backend 'default': there never was one" in problem()


def test_processes_that_fell_silent_are_not_alive(running):
    fall_silent(Process.objects.all())

    assert "the last sign of life was at" in problem()
    assert health("--max-age", "400") == "healthy"


def test_a_supervisor_with_a_dead_worker_is_not_healthy(running):
    fall_silent(Process.objects.filter(kind="Worker"))

    said = problem()

    assert f"{running.workers[0].process_name} does not do its work" in said
    assert "no worker of backend 'default' lives, though 3 other parts of processes do" in said


def test_a_worker_whose_thread_is_stuck_gives_no_sign_of_life(make_runtime, monkeypatch):  # noqa: F811
    runtime = make_runtime(process_heartbeat_interval=0.05)
    worker = runtime.workers[0]
    monkeypatch.setattr("dj_queue.runtime.loop._STUCK_SECONDS", 0.2)
    assert health("--max-age", "5") == "healthy"
    holding = runtime_tasks.gate("hold the tick")
    monkeypatch.setattr(worker, "tick", lambda session: holding.wait(20 * PATIENCE) and 0.0)
    worker.call()

    wait_until(lambda: not _is_healthy("--max-age", "1"))
    said = problem("--max-age", "1")
    holding.set()

    assert f"{worker.process_name} does not do its work" in said
    wait_until(lambda: _is_healthy("--max-age", "1"))


def test_a_leader_that_does_not_get_on_is_told(running):
    wait_until(Leadership.objects.exists)
    Leadership.objects.update(progress_at=F("progress_at") - timedelta(seconds=120))

    assert "nobody gets on with the work of the dispatcher" in problem()


def test_dispatchers_of_which_none_ever_led_are_told(running):
    wait_until(Leadership.objects.exists)
    Leadership.objects.all().delete()
    Process.objects.update(created_at=F("created_at") - timedelta(seconds=120))

    assert "nobody has ever led" in problem()


def test_deep_finds_jobs_in_two_states_and_in_none(running):
    running.stop()
    both, none = tasks.add.enqueue(1, 1), tasks.add.enqueue(1, 1)
    FailedExecution.objects.bulk_create([FailedExecution(job_id=both.id)])
    ReadyExecution.objects.filter(job_id=none.id).delete()

    said = problem("--deep")

    assert f"jobs in more than one state at once: {both.id}" in said
    assert f"jobs in no state at all, which nobody will run: {none.id}" in said


def test_deep_finds_rows_that_do_not_fit_their_job():
    lone, differing = new_job_id(), tasks.add.enqueue(1, 1)
    ReadyExecution.objects.bulk_create([ReadyExecution(job_id=lone)])
    ReadyExecution.objects.filter(job_id=differing.id).update(queue_name="other")

    said = problem("--deep")

    assert f"rows of dj_queue_ready_executions whose job is gone: {lone}" in said
    assert f"another queue or backend than their job: {differing.id}" in said


def test_what_deep_finds_is_told_in_the_language_of_who_asks():
    result = tasks.add.enqueue(1, 1)
    ReadyExecution.objects.all().delete()

    with translation.override("de"):
        said = problem("--deep")

    assert f"Jobs in gar keinem Zustand, die niemand ausführen wird: {result.id}" in said


def test_deep_finds_claims_of_processes_that_are_gone():
    result = tasks.add.enqueue(1, 1)
    ReadyExecution.objects.all().delete()
    ClaimedExecution.objects.create(job_id=result.id, token=1, process_id=None)

    assert f"claimed jobs whose process gives no sign of life: {result.id}" in problem("--deep")


def test_deep_finds_jobs_that_no_worker_of_their_queue_can_run(running):
    process_tasks.only_in_a_process.enqueue()
    runtime_tasks.wait_at.using(queue_name="forgotten").enqueue("job")
    ReadyExecution.objects.update(created_at=F("created_at") - timedelta(minutes=2))

    said = problem("--deep").splitlines()

    assert "that no worker serves: forgotten" in said[-2]
    assert "has the executor that they need: default (needs 'process')" in said[-1]


def test_deep_finds_queues_that_nobody_serves(running):
    for queue in ("default", "mail-out", "forgotten", "paused"):
        tasks.add.using(queue_name=queue).enqueue(1, 1)
    Pause.objects.create(queue_name="paused")
    ReadyExecution.objects.update(created_at=F("created_at") - timedelta(minutes=2))

    assert "that no worker serves: forgotten" in problem("--deep").splitlines()[-1]


def test_deep_finds_impossible_semaphores():
    from django.utils import timezone

    Semaphore.objects.create(key="k", value=3, limit=2, expires_at=timezone.now())
    Semaphore.objects.create(key="lowered", value=-1, limit=2, expires_at=timezone.now())

    last = problem("--deep").splitlines()[-1]

    assert last == "semaphores with more free slots than they have slots: k"


def test_jobs_that_should_have_been_cleared_are_told(settings):
    default = settings.TASKS["default"]
    options = {**default.get("OPTIONS", {}), "clear_failed_jobs_after": 3600}
    settings.TASKS = {"default": {**default, "OPTIONS": options}}
    ended, failed = tasks.add.enqueue(1, 1), tasks.add.enqueue(1, 1)
    ReadyExecution.objects.all().delete()
    long_ago = timezone.now() - timedelta(days=9)
    Job.objects.filter(id=ended.id).update(finished_at=long_ago)
    FailedExecution.objects.create(job_id=failed.id, created_at=long_ago)
    with store_for("default").open_session("default") as session:
        session.register([ProcessRecord("alive", "Supervisor", 1, "host")])

    said = problem()

    assert "finished jobs are kept for longer than OPTIONS['clear_finished_jobs_after']" in said
    assert "failed jobs are kept for longer than OPTIONS['clear_failed_jobs_after']" in said


def test_deep_wants_a_version(running):
    from importlib.metadata import version

    assert health("--deep", "--require-version", version("dj-queue")) == "healthy"
    assert "and 0.0.1 is required" in problem("--deep", "--require-version", "0.0.1")


def test_deep_finds_processes_that_must_not_run_beside_this_version(running):
    for row in Process.objects.filter(supervisor=None):
        Process.objects.filter(id=row.id).update(metadata=row.metadata | {"rollout_protocol": 2})

    assert "has rollout_protocol 2, which must not run beside 1" in problem("--deep")


def test_an_unknown_backend_is_named():
    assert "TASKS['other'] does not exist" in problem("--backend", "other")


def test_a_wrong_age_is_named():
    assert problem("--max-age", "0") == "--max-age: expected seconds above zero, found 0"


def test_only_this_backend_counts(running):
    Process.objects.update(backend_alias="other")

    assert "there never was one" in problem()
    Job.objects.all().delete()


def _is_healthy(*arguments):
    try:
        return health(*arguments) == "healthy"
    except CommandError:
        return False
