"""The page of recurring tasks: schedules in words, the next times, and what came of the last ones."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dj_queue.models import RecurringExecution
from tests.admin.test_pages import address, text_of

NOON = datetime(2031, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def fired(world):
    """Makes firings of a task, one an hour, the newest *hours* ago."""

    def make(key: str, count: int, *, hours: int = 0, **given) -> list[RecurringExecution]:
        return RecurringExecution.objects.bulk_create(
            RecurringExecution(task_key=key, run_at=NOON - timedelta(hours=hours + number), **given)
            for number in range(count)
        )

    return make


def rows_of(client) -> dict:
    response = client.get(address("recurring"))
    return {row.task.key: row for row in response.context["recurring"].rows}


def test_a_schedule_is_in_words_with_the_times_after_the_next(operator, world):
    world.recurring("nightly", schedule="0 3 * * *", next_run_at=NOON)
    world.recurring("odd", schedule="*/7 * * * *", timezone="Europe/Madrid")
    text = text_of(operator.get(address("recurring")))
    assert "every day at 03:00" in text
    assert "0 3 * * *" in text
    assert "then 05/02/2031 03:00 05/03/2031 03:00" in text
    assert "*/7 * * * * Europe/Madrid" in text

    assert "every day at 03:00" in text_of(operator.get(address("changelist")))


def test_a_disabled_task_and_one_without_a_next_time_have_none(operator, world):
    world.recurring("off", enabled=False)
    world.recurring("new", next_run_at=None)
    rows = rows_of(operator)
    assert rows["off"].later == rows["new"].later == []


def test_the_row_itself_says_so_too(operator, world):
    row = world.recurring(schedule="0 3 * * 1-5", next_run_at=NOON)
    text = text_of(operator.get(reverse("admin:dj_queue_recurringtask_change", args=[row.pk])))
    assert "from Monday to Friday at 03:00" in text
    assert "05/02/2031 03:00 05/05/2031 03:00" in text


def test_the_strip_is_the_last_twenty_firings_of_each_task(operator, world, fired):
    world.recurring("busy")
    world.recurring("rare")
    world.recurring("never")
    fired("busy", 45)
    fired("rare", 3, hours=2000)
    fired("rare", 5, backend_alias="another")

    rows = rows_of(operator)

    assert [each["run_at"] for each in rows["busy"].firings] == [
        NOON - timedelta(hours=number) for number in range(20)
    ]
    assert len(rows["rare"].firings) == 3
    assert rows["rare"].last_at == NOON - timedelta(hours=2000)
    assert rows["never"].firings == []


def test_the_strip_says_what_came_of_each(operator, world):
    world.recurring("nightly")
    for number, job in enumerate((world.finished(), world.failed(), world.ready(), None)):
        RecurringExecution.objects.create(
            task_key="nightly", run_at=NOON - timedelta(days=number), job=job
        )
    outcomes = [each["outcome"] for each in rows_of(operator)["nightly"].firings]
    assert outcomes == ["finished", "failed", "open", "gone"]
    content = operator.get(address("recurring")).content.decode()
    for words in ("ended well", "failed", "has not ended", "the job is not there any more"):
        assert f': {words}"><span class="djq-hidden">{words}</span>' in content


def test_more_tasks_and_firings_are_not_more_statements(operator, world, fired):
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert operator.get(address("recurring")).status_code == 200
        return len(queries)

    world.recurring("first")
    fired("first", 1)
    few = statements()
    for number in range(60):
        world.recurring(f"task-{number}")
        fired(f"task-{number}", 25)
    assert statements() == few
