"""What may be stored with a job, and how the rest is refused."""

import json
import math
from collections import OrderedDict, UserString, deque
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import PurePosixPath
from types import MappingProxyType
from uuid import UUID

import pytest
from django.utils.safestring import mark_safe

from dj_queue import payload
from dj_queue.exceptions import EnqueueError, PayloadError


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 7


class Plain(Enum):
    ONE = 1


class Ratio(float):
    pass


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def nested(levels: int) -> list:
    value: list = []
    for _ in range(levels - 1):
        value = [value]
    return value


def refusal(value: object, name: str = "args") -> str:
    with pytest.raises(PayloadError) as caught:
        payload.normalize(value, name=name)
    return str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**63 - 1,
        -(2**63 - 1),
        0.0,
        -0.5,
        0.1,
        1 / 3,
        5e-324,
        1.7976931348623157e308,
        1e16,
        1e22,
        1.5e300,
        "",
        "plain",
        'quotes " and \\ and / and \n\t\r\x01\x7f',
        "Zoë, 東京, \N{SNOWMAN}, \N{GRINNING FACE}",
        "\u2028\u2029\ufeff\uffff",
        "  spaces kept  ",
        [],
        {},
        [[], {}, [{}]],
        {"": 1, " ": 2, "a.b": 3, "$": 4, "\N{GRINNING FACE}": 5},
        {"deep": [{"er": [None, True, 1, 1.5, "x"]}]},
    ],
    ids=repr,
)
def test_plain_values_come_back_as_they_were(value):
    plain = payload.normalize(value, name="value")
    back = json.loads(payload.dump(plain))

    assert plain == value
    assert back == value
    assert type(back) is type(value)


def test_a_copy_is_made_that_later_changes_do_not_reach():
    inner = [1]
    given = {"list": inner}

    plain = payload.normalize(given, name="value")
    inner.append(2)

    assert plain == {"list": [1]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        (range(3), [0, 1, 2]),
        (deque([1, 2]), [1, 2]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
        (b"caf\xc3\xa9", "café"),
        (Colour.RED, "red"),
        ({Colour.RED: Level.HIGH}, {"red": 7}),
        (Ratio(0.5), 0.5),
        (mark_safe("<b>"), "<b>"),
    ],
    ids=repr,
)
def test_relatives_of_json_types_become_plain(given, expected):
    plain = payload.normalize(given, name="value")

    assert plain == expected
    assert_plain(plain)


def assert_plain(value: object) -> None:
    assert type(value) in (dict, list, str, int, float, bool, type(None))
    if isinstance(value, dict):
        for key, item in value.items():
            assert type(key) is str
            assert_plain(item)
    elif isinstance(value, list):
        for item in value:
            assert_plain(item)


@pytest.mark.parametrize(
    ("number", "told"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")]
)
def test_numbers_that_json_has_not_are_refused(number, told):
    message = refusal([{"ratio": number}])

    assert message == f"args[0]['ratio'] is {told}, which JSON has not. Pass None, or text"


def test_a_float_subclass_does_not_smuggle_nan_in():
    assert "is nan" in refusal([Ratio("nan")])


def test_a_nul_in_text_is_refused():
    message = refusal(["fine", "a\0b"])

    assert message.startswith("args[1] contains a NUL character")


def test_a_nul_in_a_key_is_refused_and_named_without_repeating_it():
    message = refusal({"a\0b": 1}, name="kwargs")

    assert message.startswith(r"kwargs['a\x00b'] contains a NUL character")
    assert "\0" not in message


def test_a_nul_in_bytes_is_refused():
    assert "contains a NUL character" in refusal([b"a\0b"])


@pytest.mark.parametrize("text", ["\ud800", "ok\udfff", "\ud83d x", "\ude00\ud83d"])
def test_half_a_surrogate_pair_is_refused_with_its_position(text):
    message = refusal([text])

    position = next(n for n, each in enumerate(text) if "\ud800" <= each <= "\udfff")
    assert message.startswith(f"args[0] contains a lone surrogate at position {position}")


def test_half_a_surrogate_pair_in_a_key_is_refused_in_a_message_that_can_be_written():
    message = refusal([{"\udc80": 1}])

    assert message.startswith(r"args[0]['\udc80'] contains a lone surrogate")
    assert message.encode()


def test_bytes_that_are_not_utf_8_are_refused_with_advice():
    message = refusal([b"\xff\xfe"])

    assert message == (
        "args[0] is bytes that are not UTF-8 text; encode them, for instance as base64"
    )


@pytest.mark.parametrize("number", [2**63, -(2**63), 10**30], ids=str)
def test_an_integer_that_some_database_would_round_is_refused_with_advice(number):
    message = refusal([number])

    assert message.startswith(f"args[0] is an integer of {number.bit_length()} bits")
    assert message.endswith("Pass it as text")


def test_a_huge_integer_is_refused_without_being_written_out():
    message = refusal([1 << 100_000])

    assert len(message) < 200


@pytest.mark.parametrize("key", [1, 1.5, None, True, (1, 2), b"bytes", Plain.ONE], ids=repr)
def test_keys_that_are_not_text_are_refused(key):
    message = refusal([{"fine": {key: "x"}}])

    assert message.startswith(f"args[0]['fine'] has the key {key!r} of type {type(key).__name__}")
    assert "only text as keys" in message


def test_a_key_that_cannot_even_be_shown_is_refused_like_any_other():
    message = refusal([{Unprintable(): 1}])

    assert "of type Unprintable" in message


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (object(), "builtins.object"),
        ({1, 2}, "builtins.set"),
        (datetime(2026, 1, 1, tzinfo=UTC), "datetime.datetime"),
        (date(2026, 1, 1), "datetime.date"),
        (Decimal("1.5"), "decimal.Decimal"),
        (UUID(int=1), "uuid.UUID"),
        (PurePosixPath("/x"), "pathlib"),
        (1 + 2j, "builtins.complex"),
        (Plain.ONE, "Plain"),
        (lambda: None, "builtins.function"),
        (iter([1]), "builtins.list_iterator"),
        (Unprintable(), "Unprintable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_types_are_refused_by_name_with_advice(value, told):
    message = refusal({"when": [value]}, name="kwargs")

    assert message.startswith("kwargs['when'][0] is of type ")
    assert told in message
    assert "pass plain values, or an id to look the object up by" in message


def test_the_refusal_is_an_enqueue_error_and_a_type_error():
    with pytest.raises(PayloadError) as caught:
        payload.normalize({1}, name="args")

    assert isinstance(caught.value, EnqueueError)
    assert isinstance(caught.value, TypeError)


def test_the_deepest_value_that_is_allowed_is_stored():
    deepest = nested(payload.MAX_DEPTH)

    assert payload.normalize(deepest, name="args") == deepest


@pytest.mark.parametrize("levels", [payload.MAX_DEPTH + 1, 50_000])
def test_a_value_that_is_nested_too_deep_is_refused(levels):
    message = refusal(nested(levels))

    assert message.startswith("args[0][0]")
    assert f"is nested more than {payload.MAX_DEPTH} levels deep" in message


def test_mappings_count_as_levels_too():
    value: dict = {}
    for _ in range(payload.MAX_DEPTH):
        value = {"k": value}

    assert "levels deep" in refusal(value)


def test_a_list_that_contains_itself_is_refused():
    value: list = []
    value.append(value)

    assert "or contains itself" in refusal(value)


def test_a_mapping_that_contains_itself_is_refused():
    value: dict = {}
    value["self"] = {"again": value}

    message = refusal(value, name="the return value")

    assert message.startswith("the return value['self']['again']['self']")
    assert "or contains itself" in message


def test_text_like_sequences_that_yield_themselves_do_not_recurse_for_ever():
    assert "or contains itself" in refusal([UserString("x")])


def test_the_first_of_several_faults_is_the_one_that_is_named():
    assert refusal([1, {"a": [math.nan]}, {2}]).startswith("args[1]['a'][0] is nan")


def test_the_text_of_a_call_has_its_arguments():
    args, kwargs, text = payload.dump_arguments((1, (2,)), {"x": b"y"}, max_bytes=1000)

    assert (args, kwargs) == ([1, [2]], {"x": "y"})
    assert json.loads(text) == {"args": [1, [2]], "kwargs": {"x": "y"}}


def test_the_text_is_compact_and_not_escaped():
    _, _, text = payload.dump_arguments(("é",), {}, max_bytes=1000)

    assert text == '{"args":["é"],"kwargs":{}}'


@pytest.mark.parametrize("letter", ["a", "é", "東", "\N{GRINNING FACE}"])
def test_the_limit_counts_bytes_and_not_characters(letter):
    around = len('{"args":[""],"kwargs":{}}')
    limit = around + 10 * len(letter.encode())

    payload.dump_arguments((letter * 10,), {}, max_bytes=limit)
    with pytest.raises(PayloadError) as caught:
        payload.dump_arguments((letter * 10 + "a",), {}, max_bytes=limit)

    assert str(caught.value) == (
        f"the arguments take {limit + 1} bytes as JSON; OPTIONS['max_payload_bytes'] allows {limit}. "
        "Store large data elsewhere and pass its key"
    )


def test_which_argument_is_at_fault_is_told_by_its_place():
    with pytest.raises(PayloadError, match=r"^args\[1\] is nan"):
        payload.dump_arguments((1, math.nan), {}, max_bytes=1000)
    with pytest.raises(PayloadError, match=r"^kwargs\['b'\] is nan"):
        payload.dump_arguments((), {"a": 1, "b": math.nan}, max_bytes=1000)


def test_large_floats_are_written_so_that_they_stay_floats():
    """PostgreSQL writes 1e300 as digits alone, which Python reads as an integer, and as another number."""
    text = payload.dump([1.5e300, -1e16, "1e+16", {"1e+16": 1}, 0.5])

    numbers = text.split(",")
    assert "e+" not in numbers[0]
    assert numbers[0].endswith(".0")
    assert json.loads(text) == [1.5e300, -1e16, "1e+16", {"1e+16": 1}, 0.5]


@pytest.mark.parametrize("text", ["", "plain", "two\nlines\ttabbed", "Zoë \N{GRINNING FACE}"])
def test_ordinary_text_is_printable_as_it_is(text):
    assert payload.printable(text, max_characters=100) == text


def test_what_cannot_be_stored_is_written_as_an_escape():
    text = payload.printable("a\0b \udc80 \ud83d\ude00 é", max_characters=100)

    assert text == r"a\x00b \udc80 \ud83d\ude00 é"
    assert text.encode()


@pytest.mark.parametrize("limit", [60, 255, 1000])
@pytest.mark.parametrize("letter", ["x", "\0", "\udc80", "é"])
def test_long_text_loses_its_middle_and_fits(limit, letter):
    text = payload.printable("begin" + letter * 2000 + "end", max_characters=limit)

    assert len(text) <= limit
    assert text.startswith("begin")
    assert text.endswith("end")
    assert "characters left out" in text


def test_text_that_just_fits_loses_nothing():
    assert payload.printable("x" * 255, max_characters=255) == "x" * 255


def test_how_much_was_left_out_is_told():
    text = payload.printable("x" * 1000, max_characters=100)

    left_out = int(text.split("[... ")[1].split(" ")[0])
    assert left_out == 1000 - text.count("x")


def test_a_limit_too_small_for_the_remark_keeps_the_end():
    assert payload.printable("abcdef" * 10, max_characters=6) == "abcdef"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**63),
        0.1,
        1e300,
        "",
        'ä"\\\n\x1f\u2028',
        [],
        {},
        [1, [2, {"a": [None]}]],
        {"é": 1},
    ],
    ids=repr,
)
def test_text_is_what_the_standard_encoder_writes(value):
    expected = json.dumps(value, separators=(",", ":"), ensure_ascii=False)

    assert payload._encode(value) == expected
