"""Which inserts tell other processes, and what they say."""

import json
from types import SimpleNamespace

import pytest

from dj_queue.selectors import EVERYTHING, parse_selectors
from dj_queue.store import announcements as module
from dj_queue.store.announcements import (
    PER_WINDOW,
    WINDOW_SECONDS,
    Announcement,
    Announcements,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def announcements() -> Announcements:
    return Announcements()


def begin(
    announcements: Announcements,
    *,
    backend: str = "default",
    topic: str = "ready",
    queues: tuple[str, ...] = ("mail",),
    is_deferred: bool = False,
) -> Announcement | None:
    """One insert; what it announces."""
    text = announcements.begin(backend, topic, queues, is_deferred=is_deferred)
    return None if text is None else Announcements.read(text)


def test_the_first_insert_announces_its_queues(clock, announcements):
    said = begin(announcements, queues=("mail", "reports"))

    assert said == Announcement("default", ("mail", "reports"), is_burst=False)


def test_a_window_has_a_few_announcements_and_then_silence(clock, announcements):
    said = [begin(announcements) for _ in range(PER_WINDOW + 3)]

    assert [each is not None for each in said] == [True] * PER_WINDOW + [False] * 3


def test_only_the_last_announcement_of_a_window_says_that_more_may_follow(clock, announcements):
    said = [begin(announcements) for _ in range(PER_WINDOW)]

    assert [each.is_burst for each in said] == [False] * (PER_WINDOW - 1) + [True]


def test_nothing_is_silent_before_somebody_was_told_to_stay_alert(clock, announcements):
    alert = False
    for _ in range(200):
        clock.advance(WINDOW_SECONDS / 17)
        said = begin(announcements)
        assert said is not None or alert
        if said is not None:
            alert = said.is_burst


def test_a_new_window_announces_again(clock, announcements):
    for _ in range(PER_WINDOW + 1):
        begin(announcements)

    clock.advance(WINDOW_SECONDS * 1.01)

    assert begin(announcements) == Announcement("default", ("mail",), is_burst=False)


def test_a_window_lasts_from_its_first_announcement(clock, announcements):
    begin(announcements)
    clock.advance(WINDOW_SECONDS * 0.9)
    for _ in range(PER_WINDOW - 1):
        begin(announcements)
    assert begin(announcements) is None

    clock.advance(WINDOW_SECONDS * 0.2)

    assert begin(announcements) is not None


def test_silent_inserts_do_not_make_the_silence_longer(clock, announcements):
    for _ in range(PER_WINDOW):
        begin(announcements)
    for _ in range(9):
        clock.advance(WINDOW_SECONDS / 10)
        assert begin(announcements) is None

    clock.advance(WINDOW_SECONDS / 9)

    assert begin(announcements) is not None


@pytest.mark.parametrize(
    "other", [{"backend": "second"}, {"topic": "scheduled"}, {"queues": ("reports",)}]
)
def test_windows_of_other_listeners_are_apart(clock, announcements, other):
    for _ in range(PER_WINDOW):
        begin(announcements)
    assert begin(announcements) is None

    assert begin(announcements, **other) is not None


def test_in_a_transaction_every_insert_announces(clock, announcements):
    said = [begin(announcements, is_deferred=True) for _ in range(PER_WINDOW * 3)]

    assert None not in said
    assert not any(each.is_burst for each in said)


def test_inserts_in_a_transaction_do_not_use_up_the_window(clock, announcements):
    for _ in range(PER_WINDOW * 2):
        begin(announcements, is_deferred=True)

    assert begin(announcements) is not None


def test_very_many_queues_do_not_pile_up(clock, announcements):
    for number in range(5000):
        begin(announcements, queues=(f"customer_{number}",))

    assert len(announcements._windows) <= 1001


def test_a_silent_insert_that_took_long_announces_after_the_fact(clock):
    started = clock.now
    clock.advance(0.021)

    assert Announcements.came_too_late(started=started, was_sent=False, is_deferred=False)


@pytest.mark.parametrize(
    ("seconds", "was_sent", "is_deferred"),
    [(0.019, False, False), (60, True, False), (60, False, True)],
    ids=["quick", "announced before", "not yet visible"],
)
def test_other_inserts_announce_nothing_after_the_fact(clock, seconds, was_sent, is_deferred):
    started = clock.now
    clock.advance(seconds)

    assert not Announcements.came_too_late(
        started=started, was_sent=was_sent, is_deferred=is_deferred
    )


def test_listeners_look_longer_than_silence_and_a_slow_insert_last():
    pytest.importorskip("psycopg")
    from dj_queue.store import postgres_session

    assert postgres_session._ALERT_SECONDS > WINDOW_SECONDS + module._SLOW_INSERT_SECONDS


@pytest.mark.parametrize(
    "queues",
    [
        [f"queue_{number}_{'x' * 50}" for number in range(500)],
        ["東" * 64 for _ in range(100)],
        ['"\\' * 32] * 200,
    ],
    ids=["many", "escaped", "quoted"],
)
def test_a_payload_too_long_for_the_server_names_no_queue(queues):
    text = Announcements.text("default", queues, is_burst=True)

    assert len(text.encode()) < 8000
    assert Announcements.read(text) == Announcement("default", (), is_burst=True)


def test_no_number_of_queues_makes_a_payload_that_the_server_refuses():
    names = [f"queue_{number:03}_{'x' * 50}" for number in range(200)]

    lengths = [len(Announcements.text("b" * 64, names[:count]).encode()) for count in range(200)]

    assert max(lengths) > 6000
    assert max(lengths) < 8000


def test_queues_that_fit_are_named_and_the_payload_with_them_fits():
    queues = [f"queue_{number:03}_{'x' * 50}" for number in range(100)]

    text = Announcements.text("b" * 64, queues)

    assert len(text.encode()) < 8000
    assert Announcements.read(text) == Announcement("b" * 64, tuple(queues), is_burst=False)


@pytest.mark.parametrize("name", ["東", 'quo"ted', "back\\slash", "new\nline", "a,b"])
def test_odd_names_survive(name):
    text = Announcements.text("default", [name])

    assert Announcements.read(text).queues == (name,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mail",
        "{",
        "[]",
        "null",
        "5",
        "{}",
        json.dumps({"backend": "x"}),
        json.dumps({"backend": "x", "queues": None, "burst": False}),
    ],
)
def test_what_is_not_ours_is_not_understood(text):
    assert Announcements.read(text) is None


def test_an_announcement_concerns_those_who_serve_one_of_its_queues():
    said = Announcement("default", ("mail", "reports"), is_burst=False)

    assert said.concerns("default", EVERYTHING)
    assert said.concerns("default", parse_selectors("rep*"))
    assert not said.concerns("default", parse_selectors("default"))
    assert not said.concerns("second", EVERYTHING)


def test_an_announcement_without_queues_concerns_everybody_on_its_backend():
    said = Announcement("default", (), is_burst=False)

    assert said.concerns("default", parse_selectors("whatever"))
    assert not said.concerns("second", parse_selectors("whatever"))
