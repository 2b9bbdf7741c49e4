"""`manage.py dj_queue --mode fork`: a parent, its children, and what becomes of each when others end."""

import os
import signal
import time
from collections import Counter

import pytest

from dj_queue.models import ClaimedExecution, FailedExecution, Job, Process, ReadyExecution
from tests.contrib.standalone import UP, begin_long_job, command, is_alive, run, supervisor_pids
from tests.site import contrib_tasks, standalone_tasks, tasks
from tests.waiting import PATIENCE, wait_until

TWO_WORKERS = [{"processes": 2, "threads": 2}]


def fork(log, *arguments, **options):
    return command(log, "--mode", "fork", *arguments, **options)


def registered(count):
    wait_until(lambda: len(supervisor_pids()) == count, seconds=30, what=f"{count} processes")
    return supervisor_pids()


def sleeping(seconds, count):
    calls = [(contrib_tasks.sleep_and_note, (seconds,), {}) for _ in range(count)]
    return tasks.add.get_backend().enqueue_all(calls)


def claimed(count):
    wait_until(lambda: ClaimedExecution.objects.count() >= count, what=f"{count} claimed")


def test_each_worker_has_as_many_processes_as_it_says_and_the_dispatchers_have_one(tmp_path):
    workers = [{"processes": 2}, {"queues": "mail", "threads": 1}]
    with fork(tmp_path / "log", workers=workers, dispatchers=[{}, {}]) as parent:
        pids = registered(4)
        wait_until(lambda: Process.objects.exclude(kind="Supervisor").count() == 6)
        kinds = Counter(
            Process.objects.exclude(kind="Supervisor").values_list("pid", "kind").order_by()
        )

        assert parent.process.pid not in pids
        assert sorted((kind, count) for (_, kind), count in kinds.items()) == [
            ("Dispatcher", 2), ("Scheduler", 1), ("Worker", 1), ("Worker", 1), ("Worker", 1),
        ]  # fmt: skip
        assert parent.stop() == 0

    assert not Process.objects.exists()
    assert not any(is_alive(pid) for pid in pids)


def test_only_work_has_no_process_for_dispatchers(tmp_path):
    with fork(tmp_path / "log", "--only-work") as parent:
        assert "all 1 process(es) run" in parent.output
        registered(1)
        assert not Process.objects.filter(kind="Dispatcher").exists()


def test_it_says_that_it_is_up_when_its_children_are(tmp_path):
    with fork(tmp_path / "log") as parent:
        output = parent.output

        assert output.index("starting 2 process(es)") < output.index(UP)
        # They run: a signal to the group finds handlers in each of them.
        os.killpg(parent.process.pid, signal.SIGTERM)
        assert parent.wait() == 0
        assert "ended after" not in parent.output


def test_jobs_run_in_the_children_which_look_like_any_other_process(tmp_path):
    with fork(tmp_path / "log", workers=TWO_WORKERS) as parent:
        results = [standalone_tasks.surroundings.enqueue() for _ in range(4)]
        wait_until(lambda: Job.objects.finished().count() == 4)
        pids = supervisor_pids()

    for result in results:
        result.refresh()
        found = result.return_value
        assert found["pid"] in pids
        assert found["parent"] == parent.process.pid
        assert found["input"] == ""
        assert found["variables"] == []


@pytest.mark.parametrize(
    ("whom", "number"),
    [("parent", signal.SIGTERM), ("group", signal.SIGTERM), ("group", signal.SIGINT)],
)
def test_running_jobs_end_and_the_others_stay_ready(tmp_path, whom, number):
    with fork(tmp_path / "log", workers=TWO_WORKERS, shutdown_timeout=15) as parent:
        sleeping(0.5, 30)
        claimed(4)

        (os.killpg if whom == "group" else os.kill)(parent.process.pid, number)
        status = parent.wait()

    assert status == 0
    assert Job.objects.finished().count() + ReadyExecution.objects.count() == 30
    assert ReadyExecution.objects.exists()
    assert not FailedExecution.objects.exists()
    assert not Process.objects.exists()


def test_a_job_that_does_not_end_holds_nobody_longer_than_the_time_to_stop(tmp_path):
    with fork(tmp_path / "log", shutdown_timeout=1) as parent:
        begin_long_job(tmp_path)
        began = time.monotonic()

        assert parent.stop() == 0
        assert time.monotonic() - began < 5 * PATIENCE

    assert FailedExecution.objects.get().exception_class.endswith("ProcessExitError")


def test_a_child_that_hangs_is_killed_when_its_time_is_over(tmp_path):
    with fork(tmp_path / "log", "--only-work", shutdown_timeout=1) as parent:
        (child,) = registered(1)
        os.kill(child, signal.SIGSTOP)
        began = time.monotonic()

        status = parent.stop()

        assert 1 <= time.monotonic() - began < 8 * PATIENCE
        assert status == 0
        assert f"(pid {child}) of backend default did not stop in time and was killed" in (
            parent.output
        )
    assert not is_alive(child)


@pytest.mark.parametrize("whom", ["parent", "group"])
def test_a_second_signal_ends_all_of_them_at_once(tmp_path, whom):
    send = os.killpg if whom == "group" else os.kill
    with fork(tmp_path / "log", workers=TWO_WORKERS, shutdown_timeout=60) as parent:
        begin_long_job(tmp_path)
        pids = supervisor_pids()
        send(parent.process.pid, signal.SIGTERM)
        wait_until(lambda: "asked to stop" in parent.output)

        send(parent.process.pid, signal.SIGTERM)

        assert parent.wait(5) == 128 + signal.SIGTERM
        wait_until(lambda: not any(is_alive(pid) for pid in pids), seconds=5)
    assert ClaimedExecution.objects.count() == 1


def test_sigquit_ends_all_of_them_at_once(tmp_path):
    with fork(tmp_path / "log", shutdown_timeout=60) as parent:
        pids = registered(2)

        assert parent.stop(signal.SIGQUIT, seconds=5) == 128 + signal.SIGQUIT
        wait_until(lambda: not any(is_alive(pid) for pid in pids), seconds=5)


def test_children_of_a_dead_parent_stop_in_an_orderly_way(tmp_path):
    with fork(tmp_path / "log", workers=TWO_WORKERS, shutdown_timeout=60) as parent:
        pids = registered(3)
        running = begin_long_job(tmp_path, seconds=2)
        sleeping(1, 30)

        parent.stop(signal.SIGKILL)

        wait_until(lambda: not any(is_alive(pid) for pid in pids), seconds=10)
    running.refresh()
    assert running.status == "SUCCESSFUL"
    assert not Process.objects.exists()
    assert Job.objects.finished().count() + ReadyExecution.objects.count() == 31
    assert ReadyExecution.objects.exists()
    assert not FailedExecution.objects.exists()


def test_children_of_a_dead_parent_do_not_take_all_of_their_time(tmp_path):
    with fork(tmp_path / "log", shutdown_timeout=600) as parent:
        pids = registered(2)
        begin_long_job(tmp_path)

        parent.stop(signal.SIGKILL)

        wait_until(lambda: not any(is_alive(pid) for pid in pids), seconds=10)
    assert FailedExecution.objects.get().exception_class.endswith("ProcessExitError")


def test_a_child_that_crashed_is_replaced_and_the_others_go_on(tmp_path):
    with fork(tmp_path / "log", "--only-work", workers=TWO_WORKERS) as parent:
        before = registered(2)
        killed = before.pop()

        os.kill(killed, signal.SIGKILL)

        wait_until(lambda: len(supervisor_pids() - {killed}) == 2, seconds=20)
        assert before < supervisor_pids()
        assert f"(pid {killed}) of backend default ended after" in parent.output
        assert "by signal 9 (SIGKILL); another one starts in 0 s" in parent.output
        assert parent.stop() == 0


def test_a_child_that_keeps_crashing_does_not_end_the_parent_and_is_waited_for_longer(tmp_path):
    with fork(
        tmp_path / "log", "--only-work", workers=[{"threads": 1}, {"queues": "other"}]
    ) as parent:
        before = registered(2)
        for _ in range(3):
            standalone_tasks.exit_hard.enqueue(7)
        wait_until(lambda: parent.output.count("with exit status 7") == 3, seconds=60)
        tasks.add.enqueue(1, 2)
        wait_until(lambda: Job.objects.finished().exists(), seconds=30)

        assert parent.process.poll() is None
        assert before & {pid for pid in supervisor_pids() if is_alive(pid)}
        for delay in ("0", "0.1", "0.2"):
            assert f"with exit status 7; another one starts in {delay} s" in parent.output
        assert parent.stop() == 0


def test_a_child_that_somebody_stops_is_replaced(tmp_path):
    with fork(tmp_path / "log", "--only-work") as parent:
        (first,) = registered(1)

        os.kill(first, signal.SIGTERM)

        wait_until(lambda: supervisor_pids() and first not in supervisor_pids(), seconds=20)
        assert parent.stop() == 0


def test_a_used_up_child_is_replaced_and_that_is_no_crash(tmp_path):
    workers = [{"threads": 2, "max_jobs": 3}]
    sleeping(0, 9)
    with fork(tmp_path / "log", "--only-work", workers=workers) as parent:
        wait_until(lambda: Job.objects.finished().count() == 9, seconds=60)

        assert "ended after" not in parent.output
        assert parent.stop() == 0

    pids = Counter(Job.objects.finished().values_list("return_value", flat=True))
    assert list(pids.values()) == [3, 3, 3]


def test_a_configuration_that_the_children_cannot_use_ends_the_parent(tmp_path):
    ended = run("--mode", "fork", "--settings", "tests.site.settings_broken_for_children")

    assert ended.returncode == 1
    assert "['threds'] is not an option" in ended.stderr
    assert "cannot use its configuration; it says why above" in ended.stderr


def test_a_wrong_setting_is_told_before_there_are_children():
    ended = run("--mode", "fork", on_thread_error="no.such.path")

    assert ended.returncode == 1
    assert "no.such.path" in ended.stderr
    assert "starting" not in ended.stdout


def test_a_successor_gets_the_pidfile_of_a_killed_parent_at_once(tmp_path):
    path = tmp_path / "dj_queue.pid"
    with fork(tmp_path / "first", supervisor_pidfile=str(path)) as parent:
        registered(2)
        # Its children live on for as long as this job.
        begin_long_job(tmp_path, seconds=3)
        assert path.read_text() == f"{parent.process.pid}\n"
        parent.stop(signal.SIGKILL)

        with fork(tmp_path / "second", supervisor_pidfile=str(path)) as successor:
            assert path.read_text() == f"{successor.process.pid}\n"
            assert successor.stop() == 0
    assert not path.exists()
