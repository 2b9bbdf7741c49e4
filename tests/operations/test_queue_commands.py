"""`dj_queue_queues` and `dj_queue_depth`."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from dj_queue.api import QueueInfo
from dj_queue.models import Job
from tests.site.tasks import noop


def enqueue(queue="default", **options):
    return noop.using(queue_name=queue, **options).enqueue()


def lines(command, *arguments, **options):
    out = StringIO()
    call_command(command, *arguments, stdout=out, **options)
    return out.getvalue().splitlines()


def test_the_list_has_a_line_for_each_queue():
    enqueue("mail")
    enqueue("mail", run_after=timezone.now() + timedelta(hours=1))
    QueueInfo("other").pause()

    heading, mail, other = lines("dj_queue_queues")

    assert heading.split()[:3] == ["queue", "ready", "scheduled"]
    assert mail.split()[:7] == ["mail", "1", "1", "0", "0", "0", "no"]
    assert other.split()[6:8] == ["yes", "-"]
    assert lines("dj_queue_queues", "list", "other")[1:] == [lines("dj_queue_queues")[2]]


def test_without_queues_it_says_so():
    assert lines("dj_queue_queues") == ["no queues"]


def test_the_list_as_json():
    enqueue("mail")

    (found,) = json.loads("\n".join(lines("dj_queue_queues", "--json")))

    assert (found["name"], found["ready"], found["is_paused"]) == ("mail", 1, False)


def test_queues_are_paused_and_resumed():
    assert lines("dj_queue_queues", "pause", "a", "b") == ["a: paused", "b: paused"]
    assert lines("dj_queue_queues", "pause", "a") == ["a: was paused already"]
    assert lines("dj_queue_queues", "resume", "a") == ["a: resumed"]
    assert lines("dj_queue_queues", "resume", "a") == ["a: was not paused"]
    assert (QueueInfo("a").paused, QueueInfo("b").paused) == (False, True)


def test_a_queue_is_cleared():
    enqueue("mail")
    enqueue("other")

    assert lines("dj_queue_queues", "clear", "mail", "--yes") == ["mail: 1 jobs deleted"]
    assert Job.objects.get().queue_name == "other"


@pytest.mark.parametrize(("answer", "left"), [("yes", 0), ("y", 1), ("", 1)])
def test_clear_asks_first(answer, left, monkeypatch):
    enqueue("mail")
    monkeypatch.setattr("builtins.input", lambda _: answer)

    if left:
        with pytest.raises(CommandError, match="nothing was deleted"):
            lines("dj_queue_queues", "clear", "mail")
    else:
        assert "about 1" in lines("dj_queue_queues", "clear", "mail")[0]

    assert Job.objects.count() == left


@pytest.mark.parametrize("arguments", [("pause",), ("pause", ""), ("pause", "x" * 65)])
def test_what_is_no_name_is_told(arguments):
    with pytest.raises(CommandError, match="expected"):
        lines("dj_queue_queues", *arguments)


@pytest.mark.parametrize("command", ["dj_queue_queues", "dj_queue_depth"])
def test_an_unknown_backend_is_told(command):
    with pytest.raises(CommandError, match="nobody"):
        lines(command, backend="nobody")


def test_the_depth_of_a_queue_that_nobody_knows_is_zero():
    enqueue("mail")
    enqueue("mail", run_after=timezone.now() + timedelta(hours=1))

    assert lines("dj_queue_depth") == ["mail 2"]
    assert lines("dj_queue_depth", "other", "mail", "--exclude-scheduled") == ["other 0", "mail 1"]
