"""The examples of docs/testing.md, word for word, and whether the page still shows them so."""

# isort: skip_file
# fmt: off

import re
from pathlib import Path

import pytest

# --8<-- the first example
from datetime import timedelta

from django.test import TestCase

from dj_queue.testing import (
    assert_enqueued,
    assert_not_enqueued,
    capture_enqueued,
    run_jobs,
    travel,
)
from tests.site.shop import cancel_unpaid, place_order, send_receipt, sent


class OrderTests(TestCase):
    def test_a_receipt_is_sent(self):
        place_order("ann", book=7)

        assert_enqueued(send_receipt, args=["ann"], kwargs={"book": 7})
        (result,) = run_jobs()
        assert result.return_value == "receipt for 7"
        assert sent == ["ann"]

    def test_an_order_that_is_not_paid_is_cancelled_after_a_day(self):
        place_order("ann", book=7)
        run_jobs("default")

        with travel(timedelta(hours=25)):
            run_jobs()
        assert sent == ["ann", "cancelled: ann"]

    def test_nothing_is_sent_to_nobody(self):
        place_order("", book=7)

        assert_not_enqueued(send_receipt)
        assert_enqueued(cancel_unpaid, queue_name="default")

    def test_a_receipt_waits_for_the_commit(self):
        with capture_enqueued() as calls:
            place_order("ann", book=7, on_commit=True)

        assert [call.task.name for call in calls] == ["cancel_unpaid", "send_receipt"]
        assert calls[1].result is None
# --8<-- the second example
@pytest.mark.django_db
def test_ann_gets_a_receipt():
    place_order("ann", book=7)

    run_jobs()

    assert sent == ["ann"]
# --8<-- the end


@pytest.fixture(autouse=True)
def nothing_sent():
    yield
    sent.clear()


def test_the_page_shows_these_examples():
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
    shown = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    here = Path(__file__).read_text().replace("tests.site.shop", "shop.tasks")
    examples = re.split(r"^# --8<-- .*\n", here, flags=re.MULTILINE)[1:-1]

    assert len(shown) == len(examples) == 2
    assert shown[0] == examples[0]
    assert shown[1].endswith(examples[1])
