"""The pidfile: one holder at a time, whatever was left behind."""

import os
import threading

import pytest

from dj_queue.exceptions import ConfigurationError, NotStarted
from dj_queue.runtime import pidfile


def test_without_a_path_nothing_is_held():
    with pidfile.held(None) as path:
        assert path is None


def test_it_holds_the_process_id_and_goes_at_the_end(tmp_path):
    path = tmp_path / "pid"

    with pidfile.held(str(path)) as held:
        assert held == str(path)
        assert path.read_text() == f"{os.getpid()}\n"

    assert not path.exists()


def test_a_second_holder_is_told_who_the_first_is(tmp_path):
    path = str(tmp_path / "pid")

    with pidfile.held(path):
        with pytest.raises(NotStarted, match=rf"^process {os.getpid()} holds the pidfile {path};"):
            pidfile.held(path).__enter__()
        assert os.path.exists(path)


def test_what_a_killed_process_has_left_is_taken_over(tmp_path):
    path = tmp_path / "pid"
    path.write_text("123456789\n")

    with pidfile.held(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_file_with_something_else_is_not_touched(tmp_path):
    path = tmp_path / "settings.py"
    path.write_text("DEBUG = False\n")

    with pytest.raises(ConfigurationError, match="holds something that is no process id"):
        pidfile.held(str(path)).__enter__()

    assert path.read_text() == "DEBUG = False\n"


def test_a_folder_that_does_not_exist_is_told(tmp_path):
    path = str(tmp_path / "none" / "pid")

    with pytest.raises(
        ConfigurationError, match=f"^the pidfile {path} .* cannot be opened: No such"
    ):
        pidfile.held(path).__enter__()


def test_it_is_removed_where_it_was_made_though_the_working_directory_has_changed(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    with pidfile.held("pid"):
        os.chdir(elsewhere)

    assert not (tmp_path / "pid").exists()


def test_it_is_not_handed_to_processes_that_tasks_start(tmp_path):
    with pidfile.held(str(tmp_path / "pid")):
        names = {f"/proc/self/fd/{fd}" for fd in range(256)}
        held = [
            int(name.rpartition("/")[2])
            for name in names
            if os.path.exists(name) and os.path.samefile(name, tmp_path / "pid")
        ]
        assert held or not os.path.exists("/proc/self/fd")

        assert not any(os.get_inheritable(fd) for fd in held)


def test_there_are_never_two_holders_though_the_file_comes_and_goes(tmp_path):
    path = str(tmp_path / "pid")
    holders, most, times = [], [], []

    def compete():
        for _ in range(300):
            try:
                with pidfile.held(path):
                    holders.append(1)
                    most.append(len(holders))
                    times.append(1)
                    holders.pop()
            except NotStarted:
                continue

    threads = [threading.Thread(target=compete) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert max(most) == 1
    assert len(times) >= 6
