"""What a worker and its child say to each other, and what they hear when nobody is there."""

import pytest

from dj_queue.runtime.child_messages import Channel


@pytest.fixture
def ends():
    ours, theirs = Channel.pair()
    yield ours, Channel(theirs)
    ours.close()
    theirs.close()


def test_messages_arrive_in_order(ends):
    ours, theirs = ends
    ours.send({"job": 1})
    ours.send_if_room({"stopping": True})

    assert [theirs.receive(lambda: True) for _ in range(2)] == [{"job": 1}, {"stopping": True}]


@pytest.mark.parametrize("send", [Channel.send, Channel.send_if_room])
def test_an_end_that_another_thread_has_closed_is_an_os_error(ends, send):
    ours, _ = ends
    ours.close()

    with pytest.raises(OSError, match=r"closed|descriptor"):
        send(ours, {"stopping": True})


def test_an_end_that_is_closed_says_nothing(ends):
    ours, theirs = ends
    ours.close()

    assert theirs.receive(lambda: True) is None
