"""Polls of a live page: 304 while its live parts tell the same, and nothing else is lost by them."""

import re

import pytest
from django.urls import reverse

from dj_queue.admin.unchanged import etag_of
from tests.admin.test_pages import PAGES, address, all_addresses


@pytest.fixture(autouse=True)
def still(monkeypatch):
    """The minute does not end during a test."""
    monkeypatch.setattr("dj_queue.admin.unchanged._MINUTE", 10**9)


def poll(client, url: str, etag: str = ""):
    headers = {"X-DjQ-Live": "1", **({"If-None-Match": etag} if etag else {})}
    return client.get(url, headers=headers)


def test_a_page_on_which_nothing_happened_is_not_sent_again(operator, world):
    jobs = world.everything()
    for url in (address(name) for name in PAGES if name not in ("changelist", "queues")):
        first = poll(operator, url)
        again = poll(operator, url, first.headers["ETag"])
        assert (first.status_code, again.status_code, again.content) == (200, 304, b""), url
    url = reverse("admin:dj_queue_job_change", args=[jobs["finished"].pk])
    assert poll(operator, url, poll(operator, url).headers["ETag"]).status_code == 304


def test_what_happened_is_sent(operator, world):
    url = f"{address('jobs')}?state=failed"
    world.failed()
    etag = poll(operator, url).headers["ETag"]
    assert poll(operator, url, etag).status_code == 304

    world.failed()

    assert poll(operator, url, etag).status_code == 200


def test_who_asks_for_the_page_itself_always_gets_it(operator, world):
    world.failed()
    url = f"{address('jobs')}?state=failed"
    etag = poll(operator, url).headers["ETag"]
    response = operator.get(url, headers={"If-None-Match": etag})
    assert response.status_code == 200
    assert "ETag" not in response.headers


def test_a_poll_leaves_messages_to_the_page_that_they_are_for(operator, world):
    operator.post(address("queue_action", "mail"), {"action": "pause"})
    assert "“mail” is paused." not in poll(operator, address("queues")).content.decode()
    assert "“mail” is paused." in operator.get(address("queues")).content.decode()


def test_live_parts_are_all_looked_at(operator, world):
    jobs = world.everything()
    for url in all_addresses(jobs):
        content = operator.get(url).content
        for place in re.finditer(rb"<(section|nav)\b[^>]* data-djq-live[^>]*>", content):
            changed = content[: place.end()] + b"<b>new</b>" + content[place.end() :]
            assert etag_of(changed, 0) != etag_of(content, 0), (url, place[0])
        assert content.count(b" data-djq-live") == len(
            re.findall(rb"<(?:section|nav)\b[^>]* data-djq-live", content)
        ), url


def test_how_long_ago_it_is_is_told_anew_each_minute(monkeypatch, operator, world):
    monkeypatch.setattr("dj_queue.admin.unchanged._MINUTE", 60)
    world.failed()
    content = operator.get(f"{address('jobs')}?state=failed").content
    later = re.sub(rb"\d+ min \d+ s ago", b"9 h 1 min ago", content)
    assert later != content
    assert etag_of(content, 60) == etag_of(later, 119) != etag_of(later, 120)
