"""Selectors are served in the order of the list; paused queues by none of them."""

import pytest

from dj_queue.models import Pause
from dj_queue.states import Executor
from dj_queue.store.records import Room
from tests.store.building import claim, insert, new_job


def queues(jobs):
    return [job.queue_name for job in jobs]


def pause(name, backend="default"):
    return Pause.objects.create(backend_alias=backend, queue_name=name)


@pytest.fixture
def fill(store):
    """Inserts one job for each name."""
    return lambda *names, **fields: insert(store, *[new_job(name, **fields) for name in names])


@pytest.mark.parametrize(
    ("selectors", "claimed"),
    [
        (["*"], ["low", "mail-b", "mail", "high", "mail-a"]),
        (["mail"], ["mail"]),
        (["high", "low"], ["high", "low"]),
        (["low", "high"], ["low", "high"]),
        (["mail*"], ["mail-b", "mail", "mail-a"]),
        (["mail-*"], ["mail-b", "mail-a"]),
        (["mail-a", "mail*"], ["mail-a", "mail-b", "mail"]),
        (["mail*", "mail-a"], ["mail-b", "mail", "mail-a"]),
        (["high", "*"], ["high", "low", "mail-b", "mail", "mail-a"]),
        (["mail-*", "*"], ["mail-b", "mail-a", "low", "mail", "high"]),
        (["high", "mail-*", "*"], ["high", "mail-b", "mail-a", "low", "mail"]),
        (["none"], []),
        (["none*"], []),
        (["none", "high"], ["high"]),
    ],
    ids=lambda each: ",".join(each),
)
def test_selectors_are_served_in_their_order_and_jobs_in_theirs(
    session, make_claimer, fill, selectors, claimed
):
    fill("low", "mail-b", "mail", "high", "mail-a")

    assert queues(claim(session, make_claimer(selectors))) == claimed


@pytest.mark.parametrize(
    "selectors", [["*"], ["a", "b"], ["q*"], ["a", "*"]], ids=lambda each: ",".join(each)
)
def test_room_limits_all_selectors_together(session, make_claimer, fill, selectors):
    names = ["q1", "q2", "q3"] if selectors == ["q*"] else ["a", "b", "a"]
    fill(*names)

    assert len(claim(session, make_claimer(selectors), 2)) == 2


def test_earlier_selector_goes_before_a_higher_priority(session, make_claimer, fill):
    fill("later", priority=100)
    fill("earlier", priority=-100)

    claimed = claim(session, make_claimer(["earlier", "later"]), 1)

    assert queues(claimed) == ["earlier"]


def test_priority_orders_the_queues_of_one_selector(session, make_claimer, fill):
    fill("q1", priority=1)
    fill("q2", priority=3)
    fill("q3", priority=2)
    fill("q2", priority=1)

    claimed = claim(session, make_claimer(["q*"]))

    assert [(job.queue_name, job.priority) for job in claimed] == [
        ("q2", 3),
        ("q3", 2),
        ("q1", 1),
        ("q2", 1),
    ]


def test_each_executor_is_filled_from_the_next_selector(session, make_claimer, fill):
    fill("a", "a", "b")
    fill("b", "b", executor=Executor.ASYNC)

    claimed = claim(session, make_claimer(["a", "b"]), Room(3, 1))

    assert sorted((job.queue_name, job.executor) for job in claimed) == [
        ("a", 0),
        ("a", 0),
        ("b", 0),
        ("b", 1),
    ]


@pytest.mark.parametrize("selectors", [["a"], ["a*"], ["*"], ["b", "*"], ["a*", "*"]])
def test_paused_queue_is_not_claimed_by_any_selector(session, make_claimer, fill, selectors):
    fill("a", "a")
    pause("a")

    assert claim(session, make_claimer(selectors)) == []


@pytest.mark.parametrize("selectors", [["*"], ["a", "b"], ["a", "*"], ["a", "b*"]])
def test_paused_queue_does_not_hold_up_the_others(session, make_claimer, fill, selectors):
    fill("a", "b", "a", "b")
    pause("a")

    assert queues(claim(session, make_claimer(selectors))) == ["b", "b"]


def test_queues_are_claimed_in_order_while_another_is_paused(session, claimer, fill):
    fill("b", "c", "paused", "a")
    fill("c", priority=1)
    pause("paused")

    assert queues(claim(session, claimer, 3)) == ["c", "b", "c"]


def test_resumed_queue_is_claimed_again(session, claimer, fill):
    fill("a")
    paused = pause("a")
    assert claim(session, claimer) == []

    paused.delete()

    assert queues(claim(session, claimer)) == ["a"]


def test_pause_of_another_backend_does_not_matter(session, claimer, fill):
    fill("a")
    pause("a", backend="other")

    assert queues(claim(session, claimer)) == ["a"]


@pytest.mark.parametrize(
    "name", ["a%", "a_b", "a\\b", "it's", "größe", "🦊", "a b", '"a"', "{0}", "%s", "A*c"]
)
def test_queue_name_may_have_any_character(session, make_claimer, fill, name):
    fill("azb", name, "other")

    by_name = claim(session, make_claimer([name], name="by name"))
    fill(name)
    by_prefix = claim(session, make_claimer([f"{name}*"], name="by prefix"))

    assert queues(by_name) == queues(by_prefix) == [name]


def test_signs_of_patterns_are_ordinary_characters_of_a_prefix(session, make_claimer, fill):
    fill("a_1", "ab1", "a%1")

    assert queues(claim(session, make_claimer(["a_*"], name="one"))) == ["a_1"]
    assert queues(claim(session, make_claimer(["a%*"], name="two"))) == ["a%1"]


def test_name_that_continues_another_is_another_queue(session, make_claimer, fill):
    fill("mailbox", "mail")

    assert queues(claim(session, make_claimer(["mail"]))) == ["mail"]


@pytest.mark.parametrize("selectors", [["mail"], ["mail*"], ["mail", "*"]], ids=",".join)
def test_queues_whose_names_differ_only_in_case_are_two(session, make_claimer, fill, selectors):
    fill("Mail", "mail", "MAIL")

    assert queues(claim(session, make_claimer(selectors), 1)) == ["mail"]


def test_all_of_many_queues_are_found(session, make_claimer, fill):
    names = [f"q{number:03}" for number in range(120)]
    fill(*reversed(names))

    claimed = claim(session, make_claimer(["q1*", "q*"]))

    assert sorted(queues(claimed[:20])) == names[100:]
    assert queues(claimed[20:]) == list(reversed(names[:100]))


def test_queue_that_comes_later_is_found_by_the_same_session(session, make_claimer, fill):
    claimer = make_claimer(["q*"])
    fill("q2", "q5")
    found = [queues(claim(session, claimer))]

    for names in (("q1", "q3", "q4"), ("q6",), ("q2", "other"), ("q0", "q5")):
        fill(*names)
        found.append(queues(claim(session, claimer)))

    assert found == [["q2", "q5"], ["q1", "q3", "q4"], ["q6"], ["q2"], ["q0", "q5"]]
