"""Schedules over whole years in zones that change their clocks by an hour, by half of one, and not at all."""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError

from dj_queue.exceptions import EnqueueError, InvalidSchedule
from dj_queue.schedule import PRESETS, parse

YEAR = 2026
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC")
START, END = datetime(YEAR, 1, 1, tzinfo=UTC), datetime(YEAR + 1, 1, 1, tzinfo=UTC)


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


STEP = timedelta(minutes=5)


@cache
def clock(zone):
    """Each fifth minute of the year, with what the clock on the wall shows then."""
    place = ZoneInfo(zone)
    moments = [START + n * STEP for n in range(365 * 24 * 12)]
    return [(moment, moment.astimezone(place).replace(tzinfo=None)) for moment in moments]


def year_of(text, zone):
    return parse(text, zone).between(START - STEP, END - STEP, 600_000)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(("hour", "minute"), [(0, 0), (1, 45), (2, 0), (2, 15), (2, 30), (3, 0)])
def test_time_of_the_day_comes_once_on_each_day_of_the_year(zone, hour, minute):
    shown = {}
    for moment, wall in clock(zone):
        shown.setdefault(wall, moment)
    expected = []
    # Not the first and the last day, which the year has only a part of in some zones.
    for day in sorted({wall.date() for wall in shown})[1:-1]:
        wall = datetime.combine(day, datetime.min.time()).replace(hour=hour, minute=minute)
        # What the clock passes over comes when it shows something again.
        while wall not in shown:
            wall += STEP
        expected.append(shown[wall])

    schedule = parse(f"{minute} {hour} * * *", zone)
    assert schedule.between(expected[0] - STEP, expected[-1], 400) == expected
    assert 363 <= len(expected) <= 364


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("30 * * * *", lambda wall: wall.minute == 30),
        ("0 */2 * * *", lambda wall: wall.minute == 0 and wall.hour % 2 == 0),
        ("*/20 2 * * *", lambda wall: wall.minute % 20 == 0 and wall.hour == 2),
    ],
)
def test_interval_comes_whenever_the_clock_shows_it(zone, text, fits):
    assert year_of(text, zone) == [moment for moment, wall in clock(zone) if fits(wall)]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("month", [3, 4, 10, 11])
def test_every_quarter_of_an_hour_is_a_quarter_of_an_hour_after_the_last(zone, month):
    found = parse("*/15 * * * *", zone).between(utc(YEAR, month, 1), utc(YEAR, month, 9), 10_000)

    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=15)}


def test_several_times_in_one_gap_are_one():
    # On 29 March the clock in Berlin goes from 2:00 to 3:00, which is 1:00 UTC.
    found = parse("0,20,40 2,3 * * *", "Europe/Berlin").between(
        utc(2026, 3, 28, 23), utc(2026, 3, 29, 12), 10
    )

    assert found == [utc(2026, 3, 29, 1), utc(2026, 3, 29, 1, 20), utc(2026, 3, 29, 1, 40)]


def test_time_that_is_shown_twice_comes_the_first_time_wherever_one_asks_from():
    # On 25 October it goes from 3:00 back to 2:00, which is 1:00 UTC.
    schedule = parse("30 2 * * *", "Europe/Berlin")
    first, next_day = utc(2026, 10, 25, 0, 30), utc(2026, 10, 26, 1, 30)

    assert schedule.next(utc(2026, 10, 25, 0, 29, 59)) == first
    for after in (
        first,
        utc(2026, 10, 25, 1, 0),
        utc(2026, 10, 25, 1, 29),
        utc(2026, 10, 25, 1, 59),
    ):
        assert schedule.next(after) == next_day


def test_many_times_in_a_doubled_hour_all_come_the_first_time():
    schedule = parse("0,30 0-59 2 * * *", "Europe/Berlin")

    found = schedule.between(utc(2026, 10, 24, 23), utc(2026, 10, 25, 12), 4000)

    assert (len(found), found[0], found[-1]) == (
        120,
        utc(2026, 10, 25, 0),
        utc(2026, 10, 25, 0, 59, 30),
    )


def test_interval_that_starts_long_before_a_change_sees_it():
    # Each minute of 29 March between 3 and 4, asked for in January.
    schedule = parse("* 3 29 3 *", "Europe/Berlin")

    assert schedule.next(utc(2026, 1, 1)) == utc(2026, 3, 29, 1)


def test_six_fields_begin_with_seconds():
    assert parse("*/20 5 * * * *", "UTC").between(utc(2026, 1, 1), utc(2026, 1, 1, 1), 9) == [
        utc(2026, 1, 1, 0, 5, 0),
        utc(2026, 1, 1, 0, 5, 20),
        utc(2026, 1, 1, 0, 5, 40),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 0 L * *", utc(2026, 1, 31)),
        ("0 0 * * 5#2", utc(2026, 1, 9)),
        ("0 0 * * L5", utc(2026, 1, 30)),
        ("0 0 13 * 5", utc(2026, 1, 2)),
        ("0 0 * * sun-mon", utc(2026, 1, 4)),
    ],
)
def test_days_are_the_last_the_second_friday_or_one_of_both_fields(text, expected):
    assert parse(text, "UTC").next(utc(2026, 1, 1)) == expected


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_what_they_stand_for(preset):
    after = utc(2026, 5, 6, 7, 8, 9)

    assert parse(preset, "UTC").next(after) == parse(PRESETS[preset], "UTC").next(after)


@pytest.mark.parametrize(
    ("text", "beside", "hour"),
    [
        ("0 3 * * * Europe/Madrid", None, 2),
        ("0 3 * * *", "Europe/Madrid", 2),
        ("0 3 * * * Europe/Madrid", "Europe/Madrid", 2),
        ("0 3 * * *", None, 2),  # TIME_ZONE of the tests is Europe/Vienna.
        ("0 3 * * * UTC", None, 3),
        ("0 3 * * * Z", None, 3),
        ("0 3 * * * +02:00", None, 1),
        ("0 3 * * * -0530", None, 8),
        ("0 0 3 * * * America/Sao_Paulo", None, 6),
        ("@midnight Asia/Tokyo", None, 15),
    ],
)
def test_zone_stands_in_the_text_or_beside_it_or_is_the_projects(text, beside, hour):
    found = parse(text, beside).next(utc(2026, 1, 10))

    assert (found.tzinfo, found.hour) == (UTC, hour)


def test_project_may_change_its_zone(settings):
    before = parse("0 12 * * *").next(utc(2026, 1, 1))
    settings.TIME_ZONE = "Asia/Tokyo"

    assert before == utc(2026, 1, 1, 11)
    assert parse("0 12 * * *").next(utc(2026, 1, 1)) == utc(2026, 1, 1, 3)


def test_time_that_lies_between_two_seconds_counts_as_before_the_next_one():
    schedule = parse("* * * * * *", "UTC")

    assert schedule.next(utc(2026, 1, 1, 0, 0, 7, 999_999)) == utc(2026, 1, 1, 0, 0, 8)
    assert schedule.next(utc(2026, 1, 1, 0, 0, 8)) == utc(2026, 1, 1, 0, 0, 9)


@pytest.mark.parametrize(
    "text", ["* * * * * *", "*/5 * * * *", "0 3 * * *", "0 0 1 * *", "@yearly"]
)
def test_latest_is_the_last_of_all_that_there_were(text):
    schedule = parse(text, "Europe/Berlin")
    until = utc(2026, 3, 29, 0, 59, 30, 500)
    after = until - timedelta(minutes=20) if text.count("*") > 4 else until - timedelta(days=500)

    assert schedule.latest(after, until) == schedule.between(after, until, 10_000)[-1]
    assert schedule.newest(after, until, 3) == schedule.between(after, until, 10_000)[-3:]


def test_latest_of_none_is_none():
    daily = parse("0 3 * * *", "UTC")

    assert daily.latest(utc(2026, 1, 1, 3), utc(2026, 1, 2, 2, 59, 59)) is None
    assert daily.latest(utc(2026, 1, 1, 3), utc(2026, 1, 1, 3)) is None
    assert daily.latest(utc(2026, 1, 1, 3), utc(2026, 1, 2, 3)) == utc(2026, 1, 2, 3)
    assert daily.newest(utc(2026, 1, 1, 3), utc(2026, 1, 1, 4), 5) == []


def test_leap_day_is_waited_for():
    assert parse("0 0 29 2 *", "UTC").next(utc(2026, 1, 1)).date() == date(2028, 2, 29)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "text such as"),
        (None, "not None"),
        ("0 3 * *", "found 4"),
        ("0 0 3 * * * *", "found 7"),
        ("0 3 * * * Europe/Madird", "no time zone 'Europe/Madird'"),
        ("0 3 * * * +99:00", "no time zone"),
        ("@dialy", "expected one of @hourly"),
        ("@daily @daily", "expected one of @hourly"),
        ("61 * * * *", "is no schedule"),
        ("0 0 1& * 1#5", "is no schedule"),
        ("R * * * *", "H and R are not known"),
        ("every day", "found 2"),
        ("0 0 31 2 *", "never comes"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 0 31 4,6 *", "never comes"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_reason(text, says):
    with pytest.raises(InvalidSchedule, match=says) as refused:
        parse(text)

    assert isinstance(refused.value, EnqueueError)
    assert isinstance(refused.value, ValidationError)


def test_two_zones_are_one_too_many():
    with pytest.raises(
        InvalidSchedule, match=r"names the time zone 'UTC', and beside it stands 'Asia"
    ):
        parse("0 3 * * * UTC", "Asia/Tokyo")


@pytest.mark.parametrize("zone", ["Nowhere", "Europe", "../../etc/passwd", ""])
def test_unknown_zone_is_refused(zone):
    with pytest.raises(InvalidSchedule, match="time zone"):
        parse("0 3 * * *", zone)


def test_moment_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="without a time zone"):
        parse("@daily").next(datetime(2026, 1, 1))  # noqa: DTZ001
