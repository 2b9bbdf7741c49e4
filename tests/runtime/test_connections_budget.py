"""A process that may open more connections than the server has room for says so when it starts."""

import pytest
from django.db import connection

from dj_queue import events


@pytest.fixture
def told():
    seen = []
    unsubscribe = events.subscribe(events.ConnectionsScarce, seen.append)
    yield seen
    unsubscribe()


def test_a_process_that_fits_says_nothing(make_runtime, told):
    runtime = make_runtime(workers=[{"threads": 2}, {"threads": 3}])

    # Two workers, a dispatcher and a scheduler, which lead; and the registrar.
    assert runtime.connections == 5 + 2 + 2 * 2 + 2
    assert told == []


def test_one_that_does_not_is_told_with_the_numbers(make_runtime, told):
    make_runtime(workers=[{"threads": 400}])

    if connection.vendor == "sqlite":
        assert told == []
    else:
        (event,) = told
        assert event.needed == 400 + 1 + 2 * 2 + 2
        assert 0 < event.used < event.limit
