"""What a process is called."""

from dj_queue.runtime.registration import Registration


def test_processes_with_one_number_on_one_machine_have_names_apart():
    # Two containers may share a host name and both be process 1.
    first, second = Registration(), Registration()

    assert (first.pid, first.hostname) == (second.pid, second.hostname)
    assert first.name("worker-1") != second.name("worker-1")
    assert first.name("worker-1") != first.name("worker-2")
