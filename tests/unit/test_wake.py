"""The flag that actors sleep on."""

import threading
import time

import pytest

from dj_queue.store.wake import WakeSignal


@pytest.fixture
def wake():
    signal = WakeSignal()
    yield signal
    signal.close()


def test_a_wait_ends_when_the_flag_is_set(wake):
    threading.Timer(0.01, wake.set).start()

    assert wake.wait(10)


def test_a_flag_that_is_set_already_ends_a_wait_at_once(wake):
    wake.set()

    assert wake.wait(10)


def test_a_byte_that_came_after_clear_does_not_end_a_wait(wake):
    wake.fileno()
    # `set` has put the flag up and not yet sent its byte when `clear` takes the flag down.
    late = wake._sockets[1]
    wake.set()
    wake.clear()
    late.send(b"\0")

    began = time.monotonic()
    assert not wake.wait(0.05)
    assert time.monotonic() - began >= 0.05


def test_set_and_wait_after_close_harm_nobody(wake):
    wake.fileno()
    wake.close()

    wake.set()
