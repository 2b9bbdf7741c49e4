"""Schedules as sentences."""

import pytest
from django.utils import timezone, translation

from dj_queue.admin.schedule_words import in_words

WORDS = {
    "* * * * *": "every minute",
    "*/15 * * * *": "every 15 minutes",
    "0 * * * *": "on the hour",
    "5 * * * *": "at minute 05 of the hour",
    "0,30 * * * *": "at minutes 00 and 30 of the hour",
    "0 */6 * * *": "every 6 hours, on the hour",
    "20 */2 * * *": "every 2 hours, at minute 20 of the hour",
    "0 3 * * *": "every day at 03:00",
    "@daily": "every day at 00:00",
    "0 9,17 * * *": "every day at 09:00 and 17:00",
    "30 8 * * 1-5": "from Monday to Friday at 08:30",
    "30 8 * * mon,wed,fri": "every Monday, Wednesday and Friday at 08:30",
    "0 0 * * 0": "every Sunday at 00:00",
    "0 0 * * 7": "every Sunday at 00:00",
    "0 0 * * 0,7": "every Sunday at 00:00",
    "0 12 1 * *": "on day 1 of the month at 12:00",
    "0 12 1,15 * *": "on days 1 and 15 of the month at 12:00",
    "0 12 L * *": "on the last day of the month at 12:00",
    "0 12 1 1,7 *": "on day 1 of the month at 12:00, in January and July",
    "0 12 1-7 jun-aug *": "on days 1 to 7 of the month at 12:00, from June to August",
    "0 12 1 * fri": "on day 1 of the month and every Friday at 12:00",
    "0 9-17 * * 1-5": "every hour from 09:00 to 17:00, from Monday to Friday",
    "*/10 9-17 * * *": "every 10 minutes from 09:00 to 17:59",
    "*/10 * * * sat,sun": "every 10 minutes, every Saturday and Sunday",
    "*/10 9 * * *": "every 10 minutes from 09:00 to 09:59",
    "*/5 * * * * *": "every 5 seconds",
    "* * * * * *": "every second",
    "30 0 3 * * *": "every day at 03:00:30",
    "0 0 3 * * *": "every day at 03:00",
    "0 3 * * * Europe/Madrid": "every day at 03:00 (Europe/Madrid)",
    "0 3 * * * +02:00": "every day at 03:00 (UTC+02:00)",
}


@pytest.mark.parametrize("text", WORDS)
def test_a_schedule_is_said_in_words(text):
    with timezone.override("UTC"), translation.override("en"):
        assert in_words(text, None if " +" in text or "/M" in text else "UTC") == WORDS[text]


def test_the_zone_is_named_where_it_is_not_the_readers():
    with timezone.override("Asia/Tokyo"), translation.override("en"):
        assert in_words("0 3 * * *", "Europe/Madrid") == "every day at 03:00 (Europe/Madrid)"
        assert in_words("0 3 * * *", "Asia/Tokyo") == "every day at 03:00"


@pytest.mark.parametrize(
    "text",
    [
        "*/7 * * * *",  # begins anew at each full hour
        "0 */5 * * *",  # and at midnight
        "0-20/5 * * * *",
        "0 0 * * mon#2",
        "0 0 */2 * *",
        "0 0 1 */2 *",
        "*/10 */2 * * *",
        "5,10 * 3 * * *",
        "*/5 0 * * * *",
        "1,2,3,4,5,6,7 * * * *",
        "1,2 1,2,3,4,5 * * *",
        "no schedule",
    ],
)
def test_what_there_is_no_plain_sentence_for_has_no_words(text):
    assert in_words(text, "UTC") == ""
