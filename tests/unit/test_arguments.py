"""Rich values as tagged JSON, without a database."""

import json
from datetime import UTC, datetime, time
from enum import Enum
from zoneinfo import ZoneInfo

import pytest

from dj_queue import arguments
from dj_queue.arguments import TAG, Missing
from dj_queue.exceptions import DeserializationError, PayloadError
from dj_queue.models import Pause
from tests.site import rich_tasks
from tests.site.rich_tasks import VALUES, Colour, Permission, Word

PLAIN = [
    1,
    "x",
    None,
    [1, [2]],
    {"a": {"b": [True, 1.5]}},
    "$dj_queue",
]
LOOKALIKES = [
    {TAG: "datetime", "value": "2026-01-01T00:00:00"},
    {TAG: "enum", "value": ["os", "system", "x"]},
    {TAG: "model", "value": ["dj_queue.pause", "default", 1]},
    {TAG: "dict", "value": {TAG: 1}},
    {TAG: "rich", "value": 1},
    {TAG: None},
    {"a": [{TAG: {TAG: {TAG: 1}}}]},
]


def stored(*args, **kwargs):
    """The payload of a call, as a database gives it back."""
    _, _, text = arguments.dump_arguments(args, kwargs, max_bytes=100_000)
    return json.loads(text)


def there_and_back(value):
    args, kwargs = arguments.restored(stored(value, key=[{"deep": value}]))
    assert kwargs == {"key": [{"deep": args[0]}]}
    return args[0]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_rich_value_comes_back_as_it_was(value):
    back = there_and_back(value)

    assert back == value
    assert type(back) is type(value)


def test_a_time_in_a_named_zone_keeps_the_zone_and_which_of_two_hours_it_is():
    value = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Vienna"))

    back = there_and_back(value)

    assert back.tzinfo is value.tzinfo
    assert back.utcoffset() == value.utcoffset()


@pytest.mark.parametrize("value", [*PLAIN, *LOOKALIKES], ids=repr)
def test_plain_values_come_back_as_they_were_also_those_that_look_like_a_tag(value):
    assert there_and_back(value) == value


def test_a_keyword_may_be_called_like_the_tag():
    payload = stored(**{TAG: "datetime", "value": Colour.RED})

    assert arguments.restored(payload) == ([], {TAG: "datetime", "value": Colour.RED})


def test_plain_arguments_have_no_mark_and_rich_ones_have_one():
    assert stored(1, a="x") == {"args": [1], "kwargs": {"a": "x"}}
    assert stored(Colour.RED)["rich"] is True
    assert stored({TAG: 1})["rich"] is True


def test_a_payload_without_the_mark_is_never_taken_for_rich():
    plain = {"args": [{TAG: "uuid", "value": "no"}], "kwargs": {}}

    assert arguments.shown(plain) == (plain["args"], plain["kwargs"])


def test_whoever_enqueues_sees_the_rich_values_in_plain_containers():
    args, kwargs, _ = arguments.dump_arguments(
        ((Colour.RED, b"x"), {TAG: Word.YES}), {"k": [UTC.utcoffset(None)]}, max_bytes=10_000
    )

    assert args == [[Colour.RED, "x"], {TAG: Word.YES}]
    assert args[1][TAG] is Word.YES
    assert kwargs == {"k": [UTC.utcoffset(None)]}


@pytest.mark.parametrize("value", [*VALUES, *PLAIN, *LOOKALIKES], ids=repr)
def test_a_return_value_comes_back_as_it_was(value):
    shown, text = arguments.dump_return_value([value], rich=True)

    assert shown == [value]
    assert arguments.shown_return_value(json.loads(text)) == [value]


@pytest.mark.parametrize("value", [*PLAIN, *LOOKALIKES], ids=repr)
def test_so_does_one_where_rich_values_are_not_allowed(value):
    shown, text = arguments.dump_return_value(value, rich=False)

    assert shown == value
    assert arguments.shown_return_value(json.loads(text)) == value


def test_a_flag_of_several_members_is_refused_with_its_place():
    with pytest.raises(PayloadError) as caught:
        stored({"may": Permission.READ | Permission.WRITE})

    assert str(caught.value).startswith(
        "args[0]['may'] is <Permission.READ|WRITE: 3>, which cannot"
    )
    assert str(caught.value).endswith("tests.site.rich_tasks.Permission; pass its value")


def test_an_enum_that_cannot_be_imported_is_refused():
    class Local(Enum):
        ONE = 1

    with pytest.raises(PayloadError, match=r"args\[0\] is <Local\.ONE: 1>, which cannot be found"):
        stored(Local.ONE)


def test_an_instance_that_is_not_saved_is_refused():
    with pytest.raises(PayloadError) as caught:
        stored([Pause(pk=1, queue_name="a")])

    assert str(caught.value) == (
        "args[0][0] is an instance of dj_queue.Pause that is not saved in a database"
    )


def test_a_time_of_day_in_a_named_zone_is_refused():
    with pytest.raises(PayloadError, match="whose offset depends on the day"):
        stored(time(1, tzinfo=ZoneInfo("Europe/Vienna")))


def test_other_types_are_refused_as_ever():
    with pytest.raises(
        PayloadError, match=r"kwargs\['a'\]\[0\] is of type builtins\.object"
    ) as caught:
        stored(a=[object()])

    assert "rich_arguments" not in str(caught.value)


def test_a_structure_that_contains_itself_is_refused():
    circle: list = []
    circle.append({"again": circle})

    with pytest.raises(PayloadError, match="nested more than 28 levels deep"):
        stored(circle)


@pytest.mark.parametrize(
    ("tag", "told"),
    [
        ({TAG: "enum", "value": ["tests.site.rich_tasks", "Colour", "BLUE"]}, "KeyError"),
        ({TAG: "enum", "value": ["tests.site.rich_tasks", "Gone", "RED"]}, "AttributeError"),
        ({TAG: "enum", "value": ["tests.no_such_module", "Colour", "RED"]}, "ModuleNotFoundError"),
        ({TAG: "enum", "value": ["tests.site.rich_tasks", "NOT_AN_ENUM", "RED"]}, "is not an Enum"),
        ({TAG: "enum", "value": ["os", "environ", "PATH"]}, "os.environ is not an Enum"),
        ({TAG: "uuid", "value": "x"}, "badly formed"),
        ({TAG: "decimal", "value": "x"}, "InvalidOperation"),
        ({TAG: "unknown", "value": 1}, "KeyError: 'unknown'"),
    ],
    ids=str,
)
def test_what_cannot_be_restored_is_an_error_for_the_job_and_shown_as_missing_to_people(tag, told):
    payload = {"args": [], "kwargs": {"of": [tag]}, "rich": True}

    with pytest.raises(DeserializationError) as caught:
        arguments.restored(payload)
    (missing,) = arguments.shown(payload)[1]["of"]

    assert str(caught.value).startswith("kwargs['of']: ")
    assert told in str(caught.value)
    assert isinstance(missing, Missing)
    assert told in missing.reason


def test_the_size_of_what_is_stored_counts():
    with pytest.raises(PayloadError, match=r"OPTIONS\['max_payload_bytes'\] allows 64"):
        arguments.dump_arguments([rich_tasks.Colour.RED], {}, max_bytes=64)
