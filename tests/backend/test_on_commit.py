"""`enqueue_on_commit`: a job only for work that was committed."""

import pytest
from django.db import connection, transaction

from dj_queue.api import enqueue_on_commit
from dj_queue.exceptions import EnqueueError
from dj_queue.models import Job
from tests.backend.undoing import rolled_back
from tests.site import catalogue
from tests.site.tasks import add


def test_without_a_transaction_the_job_is_enqueued_at_once():
    assert enqueue_on_commit(add, 1, 2) is None

    assert Job.objects.get().payload == {"args": [1, 2], "kwargs": {}}


def test_in_a_transaction_the_job_is_enqueued_after_the_commit():
    with transaction.atomic():
        with transaction.atomic():
            enqueue_on_commit(catalogue.echo, 1, key="value")
        assert not Job.objects.exists()

    assert Job.objects.get().payload == {"args": [1], "kwargs": {"key": "value"}}


def test_jobs_are_enqueued_in_the_order_in_which_they_were_asked_for():
    with transaction.atomic():
        for number in range(5):
            enqueue_on_commit(add, number, 0)

    jobs = Job.objects.order_by("id")
    assert [job.payload["args"][0] for job in jobs] == [0, 1, 2, 3, 4]


def test_a_rollback_enqueues_nothing():
    with rolled_back():
        enqueue_on_commit(add, 1, 2)

    assert not Job.objects.exists()


def test_a_rollback_to_a_savepoint_enqueues_only_what_was_asked_for_before_it():
    with transaction.atomic():
        enqueue_on_commit(add, 1, 2)
        with rolled_back():
            enqueue_on_commit(add, 3, 4)

    assert Job.objects.get().payload["args"] == [1, 2]


def test_what_the_task_asks_for_is_kept():
    with transaction.atomic():
        enqueue_on_commit(catalogue.send_mail.using(priority=-5), "a@example.org")

    assert (Job.objects.get().queue_name, Job.objects.get().priority) == ("mail", -5)


def test_bad_arguments_are_refused_at_once_where_the_error_can_still_be_seen():
    with transaction.atomic():
        with pytest.raises(EnqueueError, match=r"^kwargs\['key'\] is of type builtins.object"):
            enqueue_on_commit(catalogue.echo, 1, key=object())
        with pytest.raises(EnqueueError, match=r"^args\[0\] is nan"):
            enqueue_on_commit(catalogue.echo, float("nan"))

    assert not Job.objects.exists()


def test_a_payload_above_the_limit_is_refused_at_once(use_tasks):
    use_tasks(default={"max_payload_bytes": 64})

    with transaction.atomic(), pytest.raises(EnqueueError, match="max_payload_bytes"):
        enqueue_on_commit(catalogue.echo, "x" * 100)


def test_the_job_has_the_arguments_as_they_were_when_it_was_asked_for():
    given = {"ids": [1]}

    with transaction.atomic():
        enqueue_on_commit(catalogue.echo, given, key=given)
        given["ids"].append(2)
        given["more"] = object()

    assert Job.objects.get().payload == {"args": [{"ids": [1]}], "kwargs": {"key": {"ids": [1]}}}


def test_the_transaction_may_be_one_on_another_database(queue_database):
    with transaction.atomic(using=queue_database):
        enqueue_on_commit(add, 1, 2, using=queue_database)
        enqueue_on_commit(add, 3, 4)
        assert [job.payload["args"] for job in Job.objects.all()] == [[3, 4]]

    assert Job.objects.count() == 2


def test_a_queue_on_another_database_waits_for_the_transaction_of_the_data(
    use_tasks, queue_database
):
    use_tasks(default={"database_alias": queue_database})

    with transaction.atomic():
        enqueue_on_commit(add, 1, 2)
        assert not Job.objects.using(queue_database).exists()

    assert Job.objects.using(queue_database).count() == 1


def test_projects_may_test_with_djangos_own_backends(settings):
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}}

    with transaction.atomic():
        enqueue_on_commit(add, 1, 2)
        assert add.get_backend().results == []

    (result,) = add.get_backend().results
    assert result.args == [1, 2]
    assert not Job.objects.exists()
    assert connection.get_autocommit()
