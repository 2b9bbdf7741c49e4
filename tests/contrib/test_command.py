"""`manage.py dj_queue` as a process."""

import signal
import time
from collections import Counter

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from dj_queue.models import ClaimedExecution, FailedExecution, Job, Process, ReadyExecution
from tests.contrib.standalone import begin_long_job, command, run, supervisor_pids
from tests.site import contrib_tasks, standalone_tasks, tasks
from tests.waiting import PATIENCE, wait_until


def test_it_runs_jobs_until_sigterm_and_ends_with_success(tmp_path):
    result = tasks.add.enqueue(1, 2)

    with command(tmp_path / "log", "--mode", "async") as process:
        wait_until(lambda: Job.objects.finished().exists())
        status = process.stop(signal.SIGTERM)

    result.refresh()
    assert status == 0
    assert result.return_value == 3
    assert "dj_queue: stopped." in process.output
    assert not Process.objects.exists()


def test_sigint_is_as_good(tmp_path):
    with command(tmp_path / "log") as process:
        wait_until(lambda: Process.objects.exists())

        assert process.stop(signal.SIGINT) == 0


def test_running_jobs_end_and_the_others_stay_ready(tmp_path):
    with command(tmp_path / "log", workers=[{"threads": 2}], shutdown_timeout=15) as process:
        calls = [(contrib_tasks.sleep_and_note, (0.3,), {}) for _ in range(20)]
        tasks.add.get_backend().enqueue_all(calls)
        wait_until(lambda: ClaimedExecution.objects.count() == 2)

        status = process.stop(signal.SIGTERM)

    assert status == 0
    assert Job.objects.finished().count() + ReadyExecution.objects.count() == 20
    assert ReadyExecution.objects.exists()
    assert not FailedExecution.objects.exists()


def test_a_second_signal_ends_it_at_once(tmp_path):
    with command(tmp_path / "log", shutdown_timeout=60) as process:
        begin_long_job(tmp_path)
        process.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "asked to stop" in process.output)

        status = process.stop(signal.SIGTERM, seconds=5)

    assert status == 128 + signal.SIGTERM


def test_only_work_leaves_scheduled_jobs_and_only_dispatch_runs_none(tmp_path):
    with command(tmp_path / "work", "--only-work"):
        wait_until(lambda: Process.objects.exists())
        assert set(Process.objects.values_list("kind", flat=True)) == {"Supervisor", "Worker"}
    Process.objects.all().delete()

    with command(tmp_path / "dispatch", "--only-dispatch"):
        wait_until(lambda: Process.objects.exists())
        kinds = set(Process.objects.values_list("kind", flat=True))
        assert kinds == {"Supervisor", "Dispatcher", "Scheduler"}


@pytest.mark.parametrize("mode", ["async", "fork"])
def test_the_queues_of_one_worker_can_be_named(tmp_path, mode):
    workers = [{"queues": "other", "threads": 2}, {"queues": "more"}]
    with command(tmp_path / "log", "--queues", "mail, low*", "--mode", mode, workers=workers):
        rows = Process.objects.filter(kind="Worker")
        wait_until(rows.exists)
        found = [(row.metadata["queues"], row.metadata["threads"]) for row in rows]

    assert found == [("mail,low*", 2)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--queues", "mail,,low"), "a queue selector must be a non-empty string"),
        (("--queues", "mail", "--only-dispatch"), "with --only-dispatch there is none"),
    ],
)
def test_queues_that_make_no_sense_are_an_error(arguments, says):
    ended = run(*arguments)

    assert ended.returncode == 1
    assert says in ended.stderr


def test_a_wrong_setting_is_an_error_that_names_it():
    ended = run(workers=[{"threds": 3}])

    assert ended.returncode == 1
    assert "['workers'][0]['threds'] is not an option; the options here are" in ended.stderr


def test_an_unknown_backend_is_an_error_that_lists_the_known_ones():
    ended = run("--backend", "other")

    assert ended.returncode == 1
    assert "TASKS['other'] does not exist; the backends of dj_queue are ['default']" in ended.stderr


def test_help_says_how_to_stop_it_and_what_the_exit_status_means():
    ended = run("--help")

    assert ended.returncode == 0
    for flag in ("--backend", "--config", "--mode", "--only-work", "--only-dispatch"):
        assert flag in ended.stdout
    assert "--skip-recurring" in ended.stdout
    assert "--migration-wait-timeout" in ended.stdout
    assert "exit status:" in ended.stdout


def test_only_work_and_only_dispatch_exclude_each_other():
    ended = run("--only-work", "--only-dispatch")

    assert ended.returncode != 0
    assert "not allowed with argument" in ended.stderr


def test_nothing_to_run_is_an_error():
    ended = run("--only-work", workers=[])

    assert ended.returncode == 1
    assert "leaves nothing to run" in ended.stderr


def test_sigquit_ends_it_at_once_and_leaves_what_has_begun_claimed(tmp_path):
    with command(tmp_path / "log", shutdown_timeout=60) as process:
        begin_long_job(tmp_path)

        status = process.stop(signal.SIGQUIT, seconds=5)

    assert status == 128 + signal.SIGQUIT
    assert ClaimedExecution.objects.count() == 1


def test_a_job_that_does_not_end_holds_the_process_no_longer_than_the_time_to_stop(tmp_path):
    with command(tmp_path / "log", shutdown_timeout=1) as process:
        begin_long_job(tmp_path)
        began = time.monotonic()

        status = process.stop(signal.SIGTERM)

        assert time.monotonic() - began < 5 * PATIENCE
    assert status == 0
    assert FailedExecution.objects.get().exception_class.endswith("ProcessExitError")


def test_a_thread_that_a_job_has_left_behind_does_not_hold_the_process(tmp_path):
    with command(tmp_path / "log", shutdown_timeout=1) as process:
        standalone_tasks.leave_a_thread.enqueue(60)
        wait_until(lambda: Job.objects.finished().exists())
        began = time.monotonic()

        status = process.stop(signal.SIGTERM)

        assert time.monotonic() - began < 6 * PATIENCE
    assert status == 0
    assert "dj_queue: stopped." in process.output


def test_it_ends_with_an_error_when_a_thread_of_the_runtime_is_gone(tmp_path):
    with command(tmp_path / "log") as process:
        # The thread ends at its next step, which is when it is woken by the end of this job.
        standalone_tasks.end_thread.enqueue("default-worker-1")

        status = process.wait(40)

    assert status == 1
    assert "a thread of the runtime is gone: dj_queue-default-worker-1" in process.output


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("options.toml", "max_result_bytes = 777\n[[workers]]\nthreads = 1\n"),
        ("options.yaml", "max_result_bytes: 777\nworkers:\n- threads: 1\n"),
        (
            "all.yml",
            "backends:\n  default:\n    max_result_bytes: 777\n    workers: {threads: 1}\n",
        ),
    ],
)
def test_a_file_replaces_settings_for_the_runtime_and_for_the_tasks_in_it(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    result = standalone_tasks.surroundings.enqueue()

    with command(
        tmp_path / "log", "--config", str(tmp_path / name), workers=[{}, {}], max_result_bytes=999
    ):
        wait_until(lambda: Job.objects.finished().exists())
        workers = Process.objects.filter(kind="Worker").values_list("metadata", flat=True)
        assert [each["threads"] for each in workers] == [1]

    result.refresh()
    assert result.return_value["max_result_bytes"] == 777


def test_an_error_in_the_file_names_the_file_and_the_key(tmp_path):
    path = tmp_path / "options.toml"
    path.write_text("[[workers]]\nthreads = 0\n")

    ended = run("--config", str(path))

    assert ended.returncode == 1
    assert (
        f"{path}['workers'][0]['threads'] must be a whole number of at least 1, not 0"
        in ended.stderr
    )


def test_the_environment_chooses_the_mode_and_the_command_line_has_the_last_word(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("DJ_QUEUE_MODE", "fork")
    with command(tmp_path / "fork") as process:
        assert "all 2 process(es) run" in process.output
        process.stop()

    with command(tmp_path / "async", "--mode", "async") as process:
        assert "all 2 process(es) run" not in process.output


def test_the_pidfile_is_held_while_it_runs_and_removed_at_the_end(tmp_path):
    path = tmp_path / "dj_queue.pid"
    with command(tmp_path / "log", supervisor_pidfile=str(path)) as process:
        assert path.read_text() == f"{process.process.pid}\n"

        second = run(supervisor_pidfile=str(path))

        assert second.returncode == 1
        assert f"process {process.process.pid} holds the pidfile {path}" in second.stderr
        assert path.read_text() == f"{process.process.pid}\n"
        assert process.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT], ids=lambda each: each.name)
def test_a_pidfile_of_a_process_that_ended_at_once_stops_nobody(tmp_path, number):
    path = tmp_path / "dj_queue.pid"
    with command(tmp_path / "first", supervisor_pidfile=str(path)) as process:
        process.stop(number)
    assert path.exists() == (number == signal.SIGKILL)

    with command(tmp_path / "second", supervisor_pidfile=str(path)) as process:
        assert path.read_text() == f"{process.process.pid}\n"
        assert process.stop() == 0


@pytest.fixture
def unmigrated():
    recorder = MigrationRecorder(connection)
    names = [name for app, name in recorder.applied_migrations() if app == "dj_queue"]
    last = max(names)
    recorder.record_unapplied("dj_queue", last)
    yield last
    if ("dj_queue", last) not in MigrationRecorder(connection).applied_migrations():
        recorder.record_applied("dj_queue", last)


def test_it_waits_for_migrations_and_says_for_which(tmp_path, unmigrated):
    waiting = f"waiting up to 60 s for migrations: dj_queue.{unmigrated}"
    with command(tmp_path / "log", ready=waiting) as process:
        assert "Stop with ^C" not in process.output

        MigrationRecorder(connection).record_applied("dj_queue", unmigrated)

        wait_until(lambda: "Stop with ^C" in process.output)
        assert process.output.count("waiting") == 1
        assert process.stop() == 0


def test_migrations_that_do_not_come_are_an_error(unmigrated):
    ended = run("--migration-wait-timeout", "0.2")

    assert ended.returncode == 1
    assert (
        f"after 0.2 s these migrations are still pending on 'default': dj_queue.{unmigrated}"
        in (ended.stderr)
    )


def test_it_can_be_stopped_while_it_waits_for_migrations(tmp_path, unmigrated):
    with command(tmp_path / "log", ready="waiting up to") as process:
        assert process.stop(seconds=5) == 0
        assert "dj_queue: stopped." in process.output


def test_after_so_many_jobs_it_ends_and_leaves_the_others_to_its_successor(tmp_path):
    calls = [(contrib_tasks.sleep_and_note, (0,), {}) for _ in range(12)]
    tasks.add.get_backend().enqueue_all(calls)
    options = {"workers": [{"threads": 3, "max_jobs": 5}]}

    for number in range(3):
        with command(tmp_path / f"log{number}", **options) as process:
            if number < 2:
                assert process.wait() == 0
                assert "to be started again" in process.output
            else:
                wait_until(lambda: not ReadyExecution.objects.exists())
                process.stop()

    pids = Counter(Job.objects.finished().values_list("return_value", flat=True))
    assert sorted(pids.values()) == [2, 5, 5]


def test_too_much_memory_ends_it_when_its_jobs_have_ended(tmp_path):
    options = {"workers": [{"max_rss": 400_000_000}], "shutdown_timeout": 0}
    with command(tmp_path / "log", **options) as process:
        slow = contrib_tasks.sleep_and_note.enqueue(2)
        wait_until(lambda: ClaimedExecution.objects.exists())
        standalone_tasks.take_memory.enqueue(450_000_000)

        status = process.wait(30)

    slow.refresh()
    assert status == 0
    # It was not cut off by the stop, whose time is 0.
    assert slow.status == "SUCCESSFUL"
    assert not Process.objects.exists()


def test_age_ends_it(tmp_path):
    with command(tmp_path / "log", workers=[{"max_age": 1}]) as process:
        assert process.wait() == 0
        assert "to be started again" in process.output


def test_several_processes_are_not_had_in_async_mode_and_that_is_said(tmp_path):
    with command(tmp_path / "log", workers=[{"processes": 3}]) as process:
        wait_until(supervisor_pids)

        assert supervisor_pids() == {process.process.pid}
        assert "workers[0]['processes'] is 3, but mode 'async' has one process" in process.output
