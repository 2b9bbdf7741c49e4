"""Which queues a worker serves."""

import pytest

from dj_queue.selectors import EVERYTHING, Selector, SelectorKind, parse_selectors


def written(names) -> str:
    return str(parse_selectors(names))


@pytest.mark.parametrize("names", [None, [], (), "*", ["*"]], ids=repr)
def test_nothing_and_a_star_mean_every_queue(names):
    selection = parse_selectors(names)

    assert selection == EVERYTHING
    assert selection.is_everything
    assert selection.matches("anything at all")


def test_one_name_is_that_queue_alone():
    selection = parse_selectors("mail")

    assert selection.matches("mail")
    assert not selection.matches("mails")
    assert not selection.matches("Mail")
    assert not selection.matches("")
    assert not selection.is_everything


def test_a_star_at_the_end_makes_a_prefix():
    selection = parse_selectors("mail_*")

    assert selection.selectors == (Selector(SelectorKind.PREFIX, "mail_"),)
    assert selection.matches("mail_bulk")
    assert selection.matches("mail_")
    assert not selection.matches("mail")
    assert not selection.matches("e_mail_bulk")


@pytest.mark.parametrize("name", ["*mail", "ma*il", "%", "a_c", "a,b", " ", "[a-z]", "."])
def test_other_characters_are_ordinary_ones(name):
    selection = parse_selectors(name)

    assert selection.selectors == (Selector(SelectorKind.EXACT, name),)
    assert selection.matches(name)
    assert not selection.matches("mail")
    assert not selection.matches("abc")


@pytest.mark.parametrize("name", ["%*", "a_*", "a.*", "[*"])
def test_a_prefix_is_taken_literally(name):
    selection = parse_selectors(name)

    assert selection.matches(name[:-1] + "x")
    assert not selection.matches("axx")


def test_two_stars_are_a_prefix_that_ends_with_a_star():
    selection = parse_selectors("**")

    assert selection.selectors == (Selector(SelectorKind.PREFIX, "*"),)
    assert selection.matches("*x")
    assert not selection.matches("x")


def test_the_order_is_kept_and_repeats_are_dropped():
    assert written(["b", "a*", "b", "a", "a*"]) == "b,a*,a"


def test_what_follows_a_star_is_dropped():
    selection = parse_selectors(["first", "*", "never", "nor*"])

    assert str(selection) == "first,*"
    assert not selection.is_everything
    assert selection.matches("whatever")


def test_a_star_in_front_leaves_nothing_else():
    selection = parse_selectors(["*", "mail"])

    assert selection == EVERYTHING


def test_any_selector_that_matches_is_enough():
    selection = parse_selectors(["mail", "report_*"])

    assert selection.matches("mail")
    assert selection.matches("report_daily")
    assert not selection.matches("default")


@pytest.mark.parametrize("names", [("a", "b"), iter(["a", "b"]), dict.fromkeys(["a", "b"])])
def test_any_iterable_of_names_is_read(names):
    assert written(names) == "a,b"


@pytest.mark.parametrize("names", ["", [""], ["a", ""], [None], [5], ["a", b"b"]], ids=repr)
def test_what_is_not_a_name_is_refused(names):
    with pytest.raises(ValueError, match="must be a non-empty string, not "):
        parse_selectors(names)


def test_names_after_a_star_are_not_even_looked_at():
    assert parse_selectors(["*", ""]) == EVERYTHING


@pytest.mark.parametrize("names", ["mail", "mail_*", ["b", "a*", "*"], "*a", "**"], ids=repr)
def test_a_selection_is_written_as_it_is_read(names):
    selection = parse_selectors(names)

    assert parse_selectors(str(selection).split(",")) == selection


def test_equal_selections_are_one_key():
    assert len({parse_selectors(["a", "b*"]), parse_selectors(("a", "b*", "a"))}) == 1
