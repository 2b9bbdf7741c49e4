"""Fork mode without processes: who runs what, when a crashed child comes back, how the two ends talk."""

import pytest

from dj_queue.config import BACKEND_PATH, load_backend_config
from dj_queue.exceptions import ConfigurationError
from dj_queue.runtime.forks import RestartDelay, child_names, config_of_child
from dj_queue.runtime.lifeline import Heard, Lifeline


def config(**options):
    tasks = {"default": {"BACKEND": BACKEND_PATH, "OPTIONS": options}}
    return load_backend_config(tasks_settings=tasks)


def test_a_crashed_child_comes_back_at_once_and_then_later_and_later():
    delay = RestartDelay()

    delays = [delay.after(lived=1) for _ in range(12)]

    assert delays == pytest.approx([0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30])


def test_a_child_that_lived_for_a_minute_starts_a_new_count():
    delay = RestartDelay()
    for _ in range(8):
        delay.after(lived=59.9)

    assert [delay.after(lived=60), delay.after(lived=1)] == [0.0, 0.1]


def test_a_child_that_crashes_for_weeks_is_no_error():
    delay = RestartDelay()

    assert {delay.after(lived=0) for _ in range(5000)} >= {30.0}


def test_there_is_a_child_for_each_process_of_a_worker_and_one_for_all_dispatchers():
    two = config(workers=[{"processes": 2}, {}], dispatchers=[{}, {}])

    assert child_names(two, workers=True, dispatchers=True) == [
        "dispatchers", "worker-1-1", "worker-1-2", "worker-2-1",
    ]  # fmt: skip
    assert child_names(two, workers=False, dispatchers=True) == ["dispatchers"]
    assert child_names(two, workers=True, dispatchers=False)[0] == "worker-1-1"
    # The child of the dispatchers has the scheduler, too, which has old jobs to clear away.
    none = config(dispatchers=[])
    assert child_names(none, workers=True, dispatchers=True) == ["dispatchers", "worker-1-1"]
    nothing = config(dispatchers=[], clear_finished_jobs_after=None, clear_statistics_after=None)
    assert child_names(nothing, workers=True, dispatchers=True) == ["worker-1-1"]


def test_a_child_has_one_worker_or_all_dispatchers_and_all_other_options():
    all_of_it = config(
        workers=[{"queues": "a"}, {"queues": "b"}], dispatchers=[{}, {}], shutdown_timeout=9
    )

    worker = config_of_child(all_of_it, "worker-2-1").options
    dispatchers = config_of_child(all_of_it, "dispatchers").options

    assert [str(each.queues) for each in worker.workers] == ["b"]
    assert worker.dispatchers == ()
    assert dispatchers.workers == ()
    assert len(dispatchers.dispatchers) == 2
    assert worker.shutdown_timeout == dispatchers.shutdown_timeout == 9.0


@pytest.mark.parametrize("name", ["worker-3-1", "worker-x", "nobody"])
def test_a_child_that_is_not_configured_any_more_is_an_error(name):
    with pytest.raises(ConfigurationError, match=f"child process '{name}'"):
        config_of_child(config(), name)


@pytest.fixture
def ends():
    parent, socket = Lifeline.pair()
    child = Lifeline(socket)
    yield parent, child
    parent.close()
    child.close()


def test_nothing_said_is_nothing_heard(ends):
    parent, child = ends

    assert child.heard() is Heard.NOTHING
    assert parent.heard_started() is False


def test_a_child_hears_that_it_is_to_stop(ends):
    parent, child = ends

    parent.say_stop()

    assert child.heard() is Heard.STOP
    assert child.heard() is Heard.NOTHING


def test_a_child_that_was_told_to_stop_hears_that_though_the_parent_has_gone(ends):
    parent, child = ends
    parent.say_stop()

    parent.close()

    assert child.heard() is Heard.STOP


def test_a_child_hears_that_its_parent_is_gone(ends):
    parent, child = ends

    parent.close()

    assert child.heard() is Heard.END


def test_a_parent_hears_that_a_child_runs_and_that_it_is_gone(ends):
    parent, child = ends

    child.say_started()
    assert parent.heard_started() is True

    child.close()
    assert parent.heard_started() is None
    parent.say_stop()
