"""Of the processes of a machine only so many have a slot."""

import os
import subprocess
import sys

import pytest

from dj_queue.runtime.slots import Slots
from tests.contrib.servers import ROOT
from tests.waiting import wait_until

# Takes a slot if it can, says so, and waits for its end.
_PROGRAM = """
import sys, time
from pathlib import Path
from dj_queue.runtime.slots import Slots
slots = Slots(Path(sys.argv[1]), "database|default", int(sys.argv[2]))
print(slots.try_take(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Starts another process that wants one of so many slots; whether it has one."""
    started = []

    def start(count):
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(tmp_path), str(count)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        started.append(process)
        return process, process.stdout.readline() == b"True\n"

    yield start
    for process in started:
        process.kill()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def make(tmp_path):
    made = []

    def make_slots(count, identity="database|default"):
        made.append(Slots(tmp_path, identity, count))
        return made[-1]

    yield make_slots
    for slots in made:
        slots.give_back()


def test_no_more_processes_than_slots_have_one(make, other):
    assert other(2)[1]
    slots = make(2)
    assert slots.try_take()

    assert not other(2)[1]
    assert slots.is_taken


def test_a_slot_of_a_killed_process_is_free_at_once(make, other):
    process, _ = other(1)
    slots = make(1)
    assert not slots.try_take()

    process.kill()
    process.wait(10)

    wait_until(slots.try_take, seconds=2)


def test_a_slot_that_was_given_back_can_be_taken(make, other):
    slots = make(1)
    slots.try_take()
    slots.give_back()

    assert not slots.is_taken
    assert other(1)[1]


def test_taking_twice_is_taking_once(make, other):
    slots = make(2)

    assert slots.try_take()
    assert slots.try_take()

    assert other(2)[1]


def test_other_backends_have_slots_of_their_own(make, other):
    assert make(1, "database|other").try_take()

    assert other(1)[1]


def test_a_forked_child_has_not_its_parents_slot(make):
    slots = make(1)
    slots.try_take()

    child = os.fork()
    if child == 0:
        slots.give_back()
        os._exit(1 if slots.is_taken else 0)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert slots.is_taken
