"""A page of which a statement takes too long says so, and holds up nobody."""

import pytest
from django.db import connection
from django.urls import reverse

from dj_queue.admin import time_limit
from dj_queue.admin.queries import counting, failures
from dj_queue.models import ReadyExecution
from tests.admin.test_pages import address, text_of
from tests.store.test_time_limits import ENDLESS, endless_rows


def test_a_page_that_takes_too_long_says_so_and_how_to_go_on(operator, world, monkeypatch):
    world.failed()
    monkeypatch.setattr(time_limit, "SECONDS", 0.2)
    monkeypatch.setattr(failures, "_NEWEST", endless(failures._NEWEST))

    for url in (address("changelist"), f"{address('jobs')}?state=ready&queue=mail"):
        response = operator.get(url)
        assert response.status_code == 503, url
        assert "Too slow: the database did not answer in time." in text_of(response)
    assert f'<a href="{address("jobs")}">' in response.content.decode()
    # The connection is as good as before, and pages that do not ask that answer.
    assert operator.get(address("tasks")).status_code == 200
    assert operator.post(address("queue_action", "mail"), {"action": "pause"}).status_code == 302


def test_tables_of_the_admin_that_take_too_long_say_so_too(operator, world, monkeypatch):
    world.failed()
    monkeypatch.setattr(time_limit, "SECONDS", 0.2)
    monkeypatch.setattr(
        "dj_queue.admin.tables.FailedExecutionAdmin.get_queryset",
        lambda *_: endless_rows(failures.FailedExecution),
    )

    response = operator.get(reverse("admin:dj_queue_failedexecution_changelist"))

    assert response.status_code == 503
    assert "Too slow" in text_of(response)


def test_other_errors_of_the_database_are_not_hidden(operator, world, monkeypatch):
    monkeypatch.setattr(failures, "_NEWEST", "SELECT * FROM nowhere WHERE %s = %s")

    with pytest.raises(Exception, match="nowhere"):
        operator.get(address("changelist"))


def endless(statement: str) -> str:
    """*statement*, which finds nothing before it has counted to a billion."""
    return f"{statement.rstrip()} HAVING ({ENDLESS[connection.vendor]}) IS NULL"


def test_who_changes_something_sees_what_it_did(operator, world, monkeypatch):
    counting.forget()
    monkeypatch.setattr(counting, "LARGE", 2)
    for _ in range(2):
        world.ready(queue_name="mail")

    def shown() -> str:
        (row,) = operator.get(address("queues")).context["queues"].rows
        return str(row.line.ready)

    assert shown() == "2"
    ReadyExecution.objects.first().delete()
    assert shown() == "2"

    operator.post(address("queue_action", "mail"), {"action": "pause"})

    assert shown() == "1"
