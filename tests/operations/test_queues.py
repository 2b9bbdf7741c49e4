"""Queues: how much waits in them and for how long, pause, resume and clear."""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction
from django.utils import timezone

from dj_queue import events
from dj_queue.api import QueueInfo, get_queue_depths
from dj_queue.config import backend_config
from dj_queue.models import (
    BlockedExecution,
    Job,
    PastPause,
    Pause,
    ReadyExecution,
    RecurringTask,
)
from dj_queue.reads import queues as reads
from dj_queue.signals import queue_paused, queue_resumed
from tests.site.tasks import noop

LATER = timedelta(hours=1)
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def enqueue(count=1, *, queue="default", delay=None):
    run_after = None if delay is None else timezone.now() + delay
    task = noop.using(queue_name=queue, run_after=run_after)
    return task.get_backend().enqueue_all([(task, (), {})] * count)


def age(queue, **delta):
    """Have the ready jobs of *queue* wait for longer than they do."""
    ReadyExecution.objects.filter(queue_name=queue).update(
        created_at=timezone.now() - timedelta(**delta)
    )


def at(minutes):
    return NOON + timedelta(minutes=minutes)


def test_size_counts_ready_jobs_alone():
    enqueue(3, queue="mail")
    enqueue(1, queue="mail", delay=LATER)
    enqueue(1)

    assert QueueInfo("mail").size == 3
    assert QueueInfo("unknown").size == 0


def test_latency_is_the_wait_of_the_oldest_job():
    enqueue(2, queue="mail")
    age("mail", minutes=5)
    enqueue(1, queue="mail")

    assert 300 <= QueueInfo("mail").latency < 400
    assert QueueInfo("unknown").latency == 0.0


def test_a_job_from_the_future_has_not_waited_less_than_nothing():
    enqueue(1, queue="mail")
    age("mail", minutes=-5)

    assert QueueInfo("mail").latency == 0.0


def test_a_paused_queue_has_no_latency_and_is_not_claimed_from(worker):
    enqueue(1, queue="mail")
    queue = QueueInfo("mail")

    queue.pause()

    assert (queue.paused, queue.latency, queue.size) == (True, None, 1)
    assert worker.claim() == []


def test_pausing_twice_keeps_the_first_time_and_tells_once(heard):
    told = heard(events.QueuePaused)
    queue = QueueInfo("mail")
    queue.pause()
    first = Pause.objects.get().created_at

    queue.pause()

    assert Pause.objects.get().created_at == first
    assert [event.queue_name for event in told] == ["mail"]


def test_projects_hear_of_pauses_once_they_are_true():
    heard = []

    def hear(signal, sender, backend_alias, queue_name, changed):
        name = "paused" if signal is queue_paused else "resumed"
        heard.append((name, sender, backend_alias, queue_name, changed))

    def fail(**_):
        raise ValueError

    with ExitStack() as connected:
        for receiver in (fail, hear):
            for signal in (queue_paused, queue_resumed):
                signal.connect(receiver)
                connected.callback(signal.disconnect, receiver)
        queue = QueueInfo("mail")
        with transaction.atomic():
            queue.pause()
            assert heard == []
        queue.pause()
        with transaction.atomic():
            queue.resume()
            transaction.set_rollback(True)
        queue.resume()
        queue.resume()

    assert heard == [
        ("paused", Pause, "default", "mail", True),
        ("paused", Pause, "default", "mail", False),
        ("resumed", Pause, "default", "mail", True),
        ("resumed", Pause, "default", "mail", False),
    ]


def test_a_resumed_queue_is_claimed_from_and_its_workers_are_woken(worker, heard):
    (result,) = enqueue(1, queue="mail")
    queue = QueueInfo("mail")
    queue.pause()
    ready, resumed = heard(events.JobsReady), heard(events.QueueResumed)

    queue.resume()
    queue.resume()

    assert queue.paused is False
    assert [event.queues for event in ready] == [("mail",)]
    assert [event.queue_name for event in resumed] == ["mail"]
    assert str(worker.claim_one().id) == result.id


def test_the_time_of_a_pause_is_not_waiting_time():
    enqueue(1, queue="mail")
    age("mail", minutes=60)
    queue = QueueInfo("mail")
    queue.pause()
    Pause.objects.update(created_at=timezone.now() - timedelta(minutes=20))

    queue.resume()

    assert 40 * 60 <= queue.latency < 41 * 60


def test_a_job_that_came_during_a_pause_has_waited_since_its_end():
    queue = QueueInfo("mail")
    queue.pause()
    Pause.objects.update(created_at=timezone.now() - timedelta(minutes=20))
    enqueue(1, queue="mail")
    age("mail", minutes=10)

    queue.resume()

    assert queue.latency < 60


def test_past_pauses_are_forgotten_when_nobody_waits_who_knew_them():
    queue = QueueInfo("mail")
    enqueue(1, queue="mail")
    age("mail", minutes=60)
    for _ in range(2):
        queue.pause()
        queue.resume()
    assert PastPause.objects.count() == 2

    queue.clear()
    queue.pause()
    queue.resume()

    assert PastPause.objects.count() == 0


def test_pauses_cost_no_row_of_a_job(count_statements):
    counts = []
    for size in (10, 100):
        enqueue(size, queue="mail")
        queue = QueueInfo("mail")
        with count_statements() as statements:
            queue.pause()
            queue.resume()
        counts.append(len(statements))
        written = [each["sql"] for each in statements if each["sql"].startswith(("UPDATE", "SEL"))]
        assert not [sql for sql in written if "UPDATE" in sql and "ready_executions" in sql]

    assert counts[0] == counts[1]


@pytest.mark.only_on("postgresql", "mysql")
def test_an_enqueue_does_not_wait_for_who_pauses():
    QueueInfo("mail").pause()
    elsewhere = connections["default"].copy()
    try:
        elsewhere.set_autocommit(False)
        with elsewhere.cursor() as cursor:
            cursor.execute("SELECT id FROM dj_queue_pauses FOR UPDATE")
        enqueue(1, queue="mail")
    finally:
        elsewhere.rollback()
        elsewhere.close()

    assert QueueInfo("mail").size == 1


def test_a_pause_that_is_taken_back_is_none(heard):
    told = heard(events.QueuePaused)

    with transaction.atomic():
        QueueInfo("mail").pause()
        transaction.set_rollback(True)

    assert QueueInfo("mail").paused is False
    assert told == []


@pytest.mark.parametrize("name", ["", "x" * 65, None])
def test_a_queue_has_a_name(name):
    with pytest.raises(ValueError, match="queue_name: expected text of 1 to 64 characters"):
        QueueInfo(name).pause()


def test_clear_deletes_what_is_ready_and_nothing_else(worker):
    enqueue(2, queue="mail")
    claimed = worker.claim(2)
    enqueue(5, queue="mail")
    enqueue(1, queue="mail", delay=LATER)
    enqueue(1)
    BlockedExecution.objects.create(
        job=Job.objects.create(task_path="x", payload={}, queue_name="mail"),
        queue_name="mail", concurrency_key="key", expires_at=timezone.now(),
    )  # fmt: skip

    assert QueueInfo("mail").clear(batch_size=2) == 5

    assert QueueInfo("mail").size == 0
    assert len(claimed) == 2
    assert Job.objects.filter(queue_name="mail").count() == 4
    assert Job.objects.count() == 5


def test_clear_ends_though_jobs_keep_coming(heard):
    enqueue(3, queue="mail")
    # Each batch is followed by a new job, as with waiters that get the slots of deleted holders.
    unsubscribe = events.subscribe(events.JobsDiscarded, lambda _: enqueue(1, queue="mail"))
    try:
        assert QueueInfo("mail").clear(batch_size=1) == 3
    finally:
        unsubscribe()

    assert QueueInfo("mail").size == 3


def test_all_knows_queues_from_wherever_they_are_named(make_failed, worker):
    enqueue(1, queue="ended")
    worker.succeed(worker.claim_one())
    enqueue(1, queue="claimed")
    worker.claim_one()
    make_failed(task=noop.using(queue_name="failed"))
    enqueue(1, queue="ready")
    enqueue(1, queue="scheduled", delay=LATER)
    BlockedExecution.objects.create(
        job=Job.objects.create(task_path="x", payload={}, queue_name="blocked"),
        queue_name="blocked", concurrency_key="key", expires_at=timezone.now(),
    )  # fmt: skip
    QueueInfo("paused").pause()
    RecurringTask.objects.create(key="k", task_path="x", schedule="@daily", queue_name="recurring")

    names = [queue.queue_name for queue in QueueInfo.all()]

    assert names == [
        "blocked", "claimed", "ended", "failed", "paused", "ready", "recurring", "scheduled",
    ]  # fmt: skip


def test_all_tells_backends_apart(use_tasks):
    use_tasks(default={}, other={})
    enqueue(1, queue="mail")
    task = noop.using(backend="other", queue_name="elsewhere")
    task.enqueue()

    assert [queue.queue_name for queue in QueueInfo.all()] == ["mail"]
    (other,) = QueueInfo.all(backend_alias="other")
    assert (other.queue_name, other.size) == ("elsewhere", 1)


def test_the_queues_of_all_share_one_answer_until_one_is_changed(count_statements):
    for name in ("a", "b", "c"):
        enqueue(2, queue=name)
    with count_statements() as statements:
        queues = QueueInfo.all()
        assert [queue.size for queue in queues] == [2, 2, 2]
        assert [queue.paused for queue in queues] == [False] * 3
        assert all(queue.latency is not None for queue in queues)
    few = len(statements)
    for name in "defghijklmnop":
        enqueue(2, queue=name)
    with count_statements() as statements:
        assert sum(queue.size for queue in QueueInfo.all()) == 32
        assert few >= len(statements)

    queues[0].pause()

    assert queues[0].paused is True
    assert queues[1].paused is False


def test_async_twins():
    enqueue(2, queue="mail")
    queue = QueueInfo("mail")

    async def pause_and_clear():
        await queue.apause()
        await queue.aresume()
        return await queue.aclear()

    assert async_to_sync(pause_and_clear)() == 2


def test_depths_count_what_waits():
    enqueue(2, queue="mail")
    enqueue(1, queue="mail", delay=LATER)
    enqueue(1)

    assert get_queue_depths() == {"default": 1, "mail": 3}
    assert get_queue_depths(exclude_scheduled=True) == {"default": 1, "mail": 2}


def test_depths_by_state(make_failed, worker):
    make_failed(task=noop.using(queue_name="mail"))
    enqueue(1, queue="mail")
    worker.claim_one()
    enqueue(2, queue="mail")
    QueueInfo("other").pause()

    mail, other = reads.depths(backend_config("default"))

    assert (mail.name, mail.ready, mail.claimed, mail.failed) == ("mail", 2, 1, 1)
    assert (other.name, other.is_paused, other.latency) == ("other", True, None)
    # Workers that a test moves by hand say nothing of their queues, and so serve all.
    assert mail.workers == 1


@pytest.mark.parametrize(
    ("pauses", "minutes"),
    [
        ([], 60),
        ([(at(10), at(20))], 50),
        ([(at(-10), at(20))], 40),
        ([(at(-20), at(-10))], 60),
        ([(at(50), at(70))], 50),
        ([(at(0), at(60))], 0),
        ([(at(10), at(20)), (at(30), at(40))], 40),
    ],
)
def test_pauses_are_taken_off_where_they_overlap_with_the_wait(pauses, minutes):
    assert reads.seconds_waited(at(0), at(60), pauses) == minutes * 60
