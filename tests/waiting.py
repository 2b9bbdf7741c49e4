"""Waiting for something to become true, with a deadline; the tests know no other way to wait."""

import os
import time
from collections.abc import Callable

PATIENCE = float(os.environ.get("DJ_QUEUE_TEST_PATIENCE", "1"))
"""What deadlines are multiplied by: a machine that tests two databases at a time is not slow, but busy."""


def wait_until[T](condition: Callable[[], T], *, seconds: float = 15.0, what: str = "") -> T:
    """The first true value of *condition*; fails the test when there is none within *seconds*."""
    seconds *= PATIENCE
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not within {seconds:g} s: {what or condition}; last value {value!r}"
            )
        time.sleep(0.005)
