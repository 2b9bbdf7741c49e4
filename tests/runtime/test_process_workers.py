"""Workers with child processes: what runs in them, what kills them, and that nothing of them stays."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dj_queue import events
from dj_queue.api import executor
from dj_queue.models import ClaimedExecution, FailedExecution, Job, ReadyExecution
from dj_queue.operations import direct
from dj_queue.runtime.child_process import Child
from dj_queue.states import Executor
from tests.contrib.servers import ROOT, environment, started
from tests.site import catalogue, process_tasks, tasks
from tests.waiting import wait_until

PROCESS = {"executor": "process", "threads": 1}


@pytest.fixture(autouse=True)
def child_environment(monkeypatch):
    """Children read settings of their own, which must lead them to this run's database."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def ended():
    """What was told of children that died."""
    seen = []
    unsubscribe = events.subscribe(events.ChildEnded, seen.append)
    yield seen
    unsubscribe()


@pytest.fixture
def runtime(make_runtime):
    return make_runtime(workers=[PROCESS])


def done(result, seconds=20):
    """What the job returned, once it has finished well."""
    wait_until(Job.objects.filter(id=result.id).finished().exists, seconds=seconds)
    return Job.objects.get(id=result.id).return_value


def failure(result):
    """Why the job failed, once it has."""
    wait_until(FailedExecution.objects.filter(job_id=result.id).exists, seconds=20)
    return FailedExecution.objects.get(job_id=result.id)


def pid_in(path):
    """The pid that a task has written to *path*."""
    return int(wait_until(lambda: path.exists() and path.read_text()))


def is_gone(pid):
    """Whether there is no such process, or only its exit status."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_jobs_run_in_a_child_of_low_priority_that_stays(runtime):
    first = done(process_tasks.where.enqueue())
    second = done(process_tasks.where.enqueue())

    assert first["parent"] == os.getpid()
    assert first["nice"] >= os.nice(0) + 10 or first["nice"] == 19
    assert first["argv"][0] == "-c"
    assert second["pid"] == first["pid"] != os.getpid()


@pytest.mark.parametrize("how", ["stop", "quiesce"])
def test_a_job_in_a_child_can_ask_whether_its_worker_is_about_to_stop(make_runtime, tmp_path, how):
    runtime = make_runtime(workers=[PROCESS], shutdown_timeout=20)
    job = process_tasks.until_stopping.enqueue(str(tmp_path / "pid"))
    pid_in(tmp_path / "pid")

    getattr(runtime, how)()

    assert done(job) == [False, True]


def test_children_are_started_when_there_are_jobs_for_them(make_runtime):
    seen = []
    unsubscribe = events.subscribe(events.ChildStarted, seen.append)

    make_runtime(workers=[{**PROCESS, "threads": 4}])
    before = len(seen)
    for _ in range(3):
        done(tasks.add.enqueue(1, 1))
    unsubscribe()

    assert before == 0
    assert len(seen) == 1


def test_async_jobs_run_in_a_child_too(runtime):
    assert done(process_tasks.where_async.enqueue())["parent"] == os.getpid()


def test_a_job_is_recorded_as_if_a_thread_had_run_it(runtime):
    failed = catalogue.fail.enqueue("never")
    returned = tasks.add.enqueue(1, 2)

    error = failure(failed)
    assert (error.exception_class, error.message) == ("builtins.ValueError", "never")
    assert "in fail" in error.traceback
    assert done(returned) == 3
    job = Job.objects.get(id=returned.id)
    assert job.worker_ids == [runtime.workers[0].process_name]
    assert job.created_at <= job.started_at <= job.finished_at


def test_a_child_that_could_not_import_a_module_is_done_with_that(make_runtime):
    # First, so that nothing is left to be imported for the last.
    process_tasks.where.enqueue()
    job = tasks.add.enqueue(1, 2)
    Job.objects.filter(id=job.id).update(task_path="tests.site.fails_at_import.task")
    make_runtime(workers=[PROCESS])
    assert failure(job).exception_class == "dj_queue.exceptions.TaskNotImportable"

    died = process_tasks.die.enqueue("exit")

    assert "while the job ran" in failure(died).message


def test_a_child_is_clean_between_jobs(runtime):
    leaving = process_tasks.leave_transaction_open.enqueue()

    assert failure(leaving).exception_class == "dj_queue.exceptions.TransactionLeaked"
    assert done(process_tasks.where.enqueue())["parent"] == os.getpid()


def test_standard_input_and_programs_of_a_task_are_those_of_any_process(runtime):
    assert done(process_tasks.read_standard_input.enqueue()) == ""
    assert done(process_tasks.run_a_program.enqueue()) == "42\n"
    assert done(process_tasks.end_a_forked_process.enqueue()) == -signal.SIGTERM


def test_signals_are_sent_in_the_child(runtime, tmp_path):
    pid = done(process_tasks.listen_to_signals.enqueue(str(tmp_path / "heard")))
    job = tasks.add.enqueue(1, 1)
    done(job)

    heard = (tmp_path / "heard").read_text().splitlines()
    assert f"started {job.id} RUNNING {pid}" in heard
    assert f"finished {job.id} SUCCESSFUL {pid}" in heard


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("exit", "with exit status 7"),
        ("segfault", "by signal 11 (SIGSEGV)"),
        ("kill", "by signal 9 (SIGKILL)"),
    ],
)
def test_what_kills_a_child_fails_that_job_only(runtime, ended, how, told):
    before = done(process_tasks.where.enqueue())
    dying = process_tasks.die.enqueue(how)
    error = failure(dying)
    after = done(process_tasks.where.enqueue())

    assert error.exception_class == "dj_queue.exceptions.ProcessExitError"
    assert f"ended {told} while the job ran" in error.message
    assert [(each.pid, each.how) for each in ended] == [(before["pid"], told)]
    assert after["pid"] != before["pid"]


def test_a_child_that_died_with_a_copy_of_its_socket_left_open_is_noticed(runtime):
    error = failure(process_tasks.leave_a_process_behind.enqueue())

    assert "with exit status 7" in error.message


def test_a_child_that_died_while_it_had_nothing_to_do_costs_no_job(runtime, ended):
    pid = done(process_tasks.where.enqueue())["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone(pid))

    assert done(process_tasks.where.enqueue())["pid"] != pid
    assert len(ended) == 1


def test_a_job_that_a_dying_child_never_read_is_not_failed(runtime):
    pid = done(process_tasks.where.enqueue())["pid"]
    os.kill(pid, signal.SIGSTOP)
    job = process_tasks.where.enqueue()
    wait_until(lambda: runtime.workers[0].running)
    os.kill(pid, signal.SIGKILL)

    assert done(job)["pid"] != pid
    assert Job.objects.get(id=job.id).errors is None


def test_children_that_die_again_and_again_are_replaced_ever_later(runtime, ended):
    for _ in range(4):
        failure(process_tasks.die.enqueue("exit"))

    assert [each.restart_in.total_seconds() for each in ended] == [0, 0.1, 0.2, 0.4]


def test_a_job_that_may_run_twice_is_tried_again_when_its_child_died(runtime, tmp_path):
    job = process_tasks.die_once.enqueue(str(tmp_path / "died"))

    done(job)

    attempts = Job.objects.get(id=job.id)
    assert len(attempts.worker_ids) == 2
    assert [each["exception_class"] for each in attempts.errors] == [
        "dj_queue.exceptions.ProcessExitError"
    ]
    assert not FailedExecution.objects.exists()


def test_a_job_that_kills_every_child_fails_in_the_end(make_runtime):
    make_runtime(workers=[PROCESS], on_worker_lost="requeue", max_worker_losses=2)
    job = process_tasks.die.enqueue("exit")

    failure(job)

    assert len(Job.objects.get(id=job.id).errors) == 3


def test_a_child_is_replaced_after_max_jobs(make_runtime):
    make_runtime(workers=[{**PROCESS, "max_jobs": 2}])

    pids = [done(process_tasks.where.enqueue())["pid"] for _ in range(5)]

    assert pids[0] == pids[1] != pids[2]
    assert pids[2] == pids[3] != pids[4]


def test_several_children_run_jobs_side_by_side(make_runtime, tmp_path):
    make_runtime(workers=[{**PROCESS, "threads": 2}])
    one, two = (
        process_tasks.wait_for.enqueue(str(tmp_path / name), str(tmp_path / other))
        for name, other in (("one", "two"), ("two", "one"))
    )

    assert done(one) != done(two)


def test_a_job_that_is_running_ends_before_the_stop_does(runtime, tmp_path):
    job = process_tasks.wait_for.enqueue(str(tmp_path / "pid"), str(tmp_path / "go"))
    pid = pid_in(tmp_path / "pid")
    runtime.workers[0].stop(time.monotonic() + 10)
    os.kill(
        pid, signal.SIGTERM
    )  # As a service manager tells the whole group; it is not the child's.
    (tmp_path / "go").touch()

    assert runtime.stop(10)
    assert Job.objects.get(id=job.id).return_value == pid
    assert is_gone(pid)


def test_a_child_that_its_thread_has_retired_need_not_be_told_that_the_worker_stops():
    child = Child("retired")
    child.retire()

    child.tell_stopping()

    assert not child.is_alive


def test_a_job_that_does_not_end_in_time_is_killed_and_recorded(runtime, tmp_path, ended):
    job = process_tasks.wait_for.enqueue(str(tmp_path / "pid"), str(tmp_path / "never"))
    pid = pid_in(tmp_path / "pid")

    assert runtime.stop(1)

    assert is_gone(pid)
    assert "did not end within" in failure(job).message
    assert not ClaimedExecution.objects.exists()
    assert ended == []


def test_a_job_whose_child_is_still_being_started_goes_back_at_a_stop(
    make_runtime, monkeypatch, tmp_path, ended
):
    # Python imports it before anything else.
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    runtime = make_runtime(workers=[PROCESS])
    job = tasks.add.enqueue(1, 1)
    wait_until(lambda: runtime.workers[0].running)

    assert runtime.stop(5)

    assert ended == []

    assert ReadyExecution.objects.filter(job_id=job.id).exists()


def test_a_child_that_cannot_be_set_up_gives_the_job_back(make_runtime, monkeypatch, ended):
    monkeypatch.setenv("DJ_QUEUE_TEST_DATABASE_URL", "nonsense://")
    make_runtime(workers=[PROCESS])
    job = tasks.add.enqueue(1, 1)

    wait_until(lambda: len(ended) > 1)

    assert "Django could not be set up in it (KeyError" in ended[0].how
    assert Job.objects.get(id=job.id).errors is None
    assert not FailedExecution.objects.exists()


@pytest.mark.parametrize("task", [process_tasks.wait_for, process_tasks.wait_in_c])
def test_a_child_does_not_outlive_its_worker(tmp_path, task):
    with started(
        ["-m", "django", "dj_queue"],
        tmp_path / "log",
        ready="Stop with ^C",
        workers=[PROCESS],
    ) as command:
        arguments = [str(tmp_path / "never")] if task is process_tasks.wait_for else []
        task.enqueue(str(tmp_path / "pid"), *arguments)
        pid = pid_in(tmp_path / "pid")

        command.process.kill()

        wait_until(lambda: is_gone(pid), seconds=3)


def test_jobs_go_where_their_task_says(make_runtime):
    make_runtime(workers=[PROCESS, {"threads": 1}])

    in_process = [
        done(task.enqueue())
        for task in (process_tasks.only_in_a_process, process_tasks.only_in_a_process_async)
    ]
    in_thread = [
        done(task.enqueue())
        for task in (process_tasks.only_in_a_thread, process_tasks.only_on_the_loop)
    ]

    assert os.getpid() not in in_process
    assert set(in_thread) == {os.getpid()}


def test_a_worker_without_the_executor_leaves_the_job_to_others(make_runtime):
    make_runtime(workers=[{"threads": 1}])
    waiting = process_tasks.only_in_a_process.enqueue()
    done(tasks.add.enqueue(1, 1))

    assert ReadyExecution.objects.get(job_id=waiting.id).executor == Executor.PROCESS


def test_a_job_is_not_handed_straight_to_a_worker_with_children(runtime):
    worker = runtime.workers[0]
    done(tasks.add.enqueue(1, 1))
    wait_until(lambda: worker.has_place(Executor.THREAD))

    assert direct.reserve("default", "default", "default", Executor.THREAD) is None


def test_an_executor_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="expected 'thread' or 'process', found 'fiber'"):
        executor("fiber")


def test_settings_that_were_configured_by_hand_are_refused():
    program = (
        "import django; from django.conf import settings;"
        "settings.configure(INSTALLED_APPS=['dj_queue'], DATABASES={'default': {"
        "'ENGINE': 'django.db.backends.sqlite3', 'NAME': '/nonexistent/x'}},"
        "TASKS={'default': {'BACKEND': 'dj_queue.backend.DjQueueBackend',"
        "'OPTIONS': {'workers': {'executor': 'process'}}}});"
        "django.setup();"
        "from dj_queue.runtime.supervisor import Supervisor;"
        "Supervisor.from_backend_config()"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert "here settings come from settings.configure()" in ended.stderr


def test_stand_alone_max_jobs_replaces_children_and_not_the_process(tmp_path):
    with started(
        ["-m", "django", "dj_queue"],
        tmp_path / "log",
        ready="Stop with ^C",
        workers=[{**PROCESS, "max_jobs": 1}],
    ) as command:
        found = [done(process_tasks.where.enqueue()) for _ in range(3)]

        assert len({each["pid"] for each in found}) == 3
        assert {each["parent"] for each in found} == {command.process.pid}


def test_a_child_has_the_options_of_the_file_that_its_parent_was_given(tmp_path):
    file = tmp_path / "dj_queue.toml"
    file.write_text("[[workers]]\nexecutor = 'process'\nthreads = 1\n")
    with started(
        ["-m", "django", "dj_queue", "--config", str(file)],
        tmp_path / "log",
        ready="Stop with ^C",
        workers=[{"threads": 1}],
    ):
        assert done(process_tasks.configured_executors.enqueue()) == ["process"]
