"""Facts and their listeners."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from dj_queue import events


@dataclass(frozen=True)
class Happened:
    what: str = "it"


@dataclass(frozen=True)
class HappenedMore(Happened):
    pass


@pytest.fixture
def subscribe() -> Iterator[Callable[..., Callable[[], None]]]:
    """Subscribes until the test ends."""
    with ExitStack() as subscriptions:

        def subscribed(event_type: type, listener: Callable) -> Callable[[], None]:
            unsubscribe = events.subscribe(event_type, listener)
            subscriptions.callback(unsubscribe)
            return unsubscribe

        yield subscribed


def test_every_listener_hears_an_event_in_the_order_of_subscription(subscribe):
    heard: list = []
    subscribe(Happened, lambda event: heard.append(("first", event)))
    subscribe(Happened, lambda event: heard.append(("second", event)))

    events.emit(Happened("x"))

    assert heard == [("first", Happened("x")), ("second", Happened("x"))]


def test_only_events_of_the_exact_type_are_heard(subscribe):
    heard: list = []
    subscribe(Happened, heard.append)

    events.emit(HappenedMore())
    events.emit("something else")

    assert heard == []


def test_an_event_that_nobody_wants_is_dropped():
    assert not events.is_wanted(Happened)

    events.emit(Happened())


def test_a_listener_that_fails_disturbs_neither_the_emitter_nor_the_others(subscribe, caplog):
    heard: list = []

    def fail(event: Happened) -> None:
        raise ValueError("no")

    subscribe(Happened, fail)
    subscribe(Happened, heard.append)

    with caplog.at_level(logging.ERROR, "dj_queue.events"):
        events.emit(Happened())

    assert heard == [Happened()]
    assert caplog.messages == ["A listener of Happened failed."]
    assert caplog.records[0].exc_info[0] is ValueError


def test_who_unsubscribed_hears_nothing_more(subscribe):
    heard: list = []
    unsubscribe = subscribe(Happened, heard.append)

    assert events.is_wanted(Happened)
    unsubscribe()
    events.emit(Happened())

    assert heard == []
    assert not events.is_wanted(Happened)


def test_unsubscribing_twice_is_harmless(subscribe):
    heard: list = []
    unsubscribe = subscribe(Happened, lambda event: heard.append("first"))
    subscribe(Happened, lambda event: heard.append("second"))

    unsubscribe()
    unsubscribe()
    events.emit(Happened())

    assert heard == ["second"]


def test_bound_methods_of_one_object_are_subscriptions_of_their_own(subscribe):
    class Ears:
        def __init__(self) -> None:
            self.heard = 0

        def hear(self, event: Happened) -> None:
            self.heard += 1

    ears = Ears()
    first = subscribe(Happened, ears.hear)
    subscribe(Happened, ears.hear)

    first()
    events.emit(Happened())

    assert ears.heard == 1


def test_a_listener_may_unsubscribe_while_it_listens(subscribe):
    heard: list = []

    def once(event: Happened) -> None:
        heard.append("once")
        unsubscribe()

    unsubscribe = subscribe(Happened, once)
    subscribe(Happened, lambda event: heard.append("always"))

    events.emit(Happened())
    events.emit(Happened())

    assert heard == ["once", "always", "always"]


def test_a_listener_may_state_facts_of_its_own(subscribe):
    heard: list = []
    subscribe(Happened, lambda event: events.emit(HappenedMore(event.what)))
    subscribe(HappenedMore, heard.append)

    events.emit(Happened("x"))

    assert heard == [HappenedMore("x")]
