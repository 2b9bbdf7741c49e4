"""What is done by buttons: to whom it is allowed, what it does, what is noted about it."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dj_queue import events
from dj_queue.admin import bulk
from dj_queue.api import QueueInfo
from dj_queue.models import (
    BulkAction,
    FailedExecution,
    Job,
    Pause,
    ReadyExecution,
    RecurringExecution,
    RecurringTask,
    ScheduledExecution,
)
from dj_queue.testing import run_jobs
from tests.admin.test_pages import address, text_of

# The action, the state it is for, and the permissions of which each is enough.
JOB_ACTIONS = (
    ("retry", "failed", ("change_job", "retry_job")),
    ("discard", "ready", ("delete_job", "discard_job")),
    ("run_now", "scheduled", ("change_job", "run_job")),
    ("enqueue", "finished", ("add_job", "run_job")),
)
QUEUE_ACTIONS = (
    ("pause", ("add_pause", "pause_queue")),
    ("resume", ("delete_pause", "pause_queue")),
    ("clear", ("delete_job", "clear_queue")),
)
RECURRING_ACTIONS = (
    ("run", ("change_recurringtask", "manage_recurring")),
    ("disable", ("change_recurringtask", "manage_recurring")),
    ("unschedule", ("delete_recurringtask", "manage_recurring")),
)


def post_jobs(client, state, action, jobs=(), queue="mail", **more):
    data = {"state": state, "action": action, "_selected_action": [job.pk for job in jobs]}
    return client.post(address("job_action", queue), data | more)


def object_action(client, job, action, **more):
    url = reverse("admin:dj_queue_job_change", args=[job.pk])
    return client.post(url, {"_djq_object_action": action} | more)


def test_selected_jobs_are_retried_and_that_is_noted(operator, world):
    wanted, other = world.failed(), world.failed()
    told = []
    forget = events.subscribe(events.OperatorActed, told.append)

    response = post_jobs(operator, "failed", "retry", [wanted], next="/admin/?x=1")
    forget()

    assert response.headers["Location"] == "/admin/?x=1"
    assert ReadyExecution.objects.get().job_id == wanted.pk
    assert FailedExecution.objects.get().job_id == other.pk
    entry = LogEntry.objects.get()
    assert (entry.user.username, str(wanted.pk) in entry.object_repr) == ("olga", True)
    assert [(each.user, each.action, each.count) for each in told] == [("olga", "retry", 1)]


def test_discarding_asks_first(operator, world):
    jobs = [world.ready(), world.ready()]

    asked = post_jobs(operator, "ready", "discard", jobs)

    assert asked.status_code == 200
    assert "2 jobs" in text_of(asked)
    assert Job.objects.count() == 2
    post_jobs(operator, "ready", "discard", jobs, confirm="yes")
    assert not Job.objects.exists()


@pytest.mark.parametrize(("action", "state", "enough"), JOB_ACTIONS)
def test_each_action_on_jobs_needs_one_of_its_permissions(staff, world, action, state, enough):
    for permission in enough:
        job = getattr(world, state)()
        viewer, allowed = staff("view_job"), staff("view_job", permission)

        for attempt in (
            lambda client, job=job: post_jobs(client, state, action, [job], confirm="yes"),
            lambda client, job=job: object_action(client, job, action, confirm="yes"),
        ):
            assert attempt(viewer).status_code == 403
        page = viewer.get(reverse("admin:dj_queue_job_change", args=[job.pk])).content.decode()
        assert f'value="{action}"' not in page
        assert post_jobs(allowed, state, action, [job], confirm="yes").status_code == 302
        assert not getattr(Job.objects, state)().filter(pk=job.pk).exists() or action == "enqueue"


@pytest.mark.parametrize(("action", "enough"), QUEUE_ACTIONS)
def test_each_action_on_queues_needs_one_of_its_permissions(staff, world, action, enough):
    world.ready()
    for permission in enough:
        viewer, allowed = staff("view_job"), staff("view_job", permission)
        data = {"action": action, "confirm": "mail"}
        assert viewer.post(address("queue_action", "mail"), data).status_code == 403
        assert allowed.post(address("queue_action", "mail"), data).status_code == 302


@pytest.mark.parametrize(("action", "enough"), RECURRING_ACTIONS)
def test_each_action_on_recurring_tasks_needs_one_of_its_permissions(staff, world, action, enough):
    for permission in enough:
        task = world.recurring(permission, static=False)
        viewer, allowed = staff("view_job"), staff("view_job", permission)
        url, data = address("recurring_action", task.pk), {"action": action, "confirm": "yes"}
        assert viewer.post(url, data).status_code == 403
        assert allowed.post(url, data).status_code == 302
        assert LogEntry.objects.filter(object_id=task.pk).count() == 1


def test_who_is_no_staff_or_may_see_nothing_is_kept_out(client, staff, world):
    world.everything()
    for url in (address("changelist"), address("jobs"), reverse("admin:dj_queue_job_changelist")):
        assert "/login/" in client.get(url).headers["Location"]
        assert staff().get(url).status_code == 403
        assert staff("view_dashboard").get(url).status_code == 200


def test_actions_are_posted_with_a_token_and_lead_nowhere_else(operator, world):
    job, user = world.failed(), operator.session["_auth_user_id"]
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert user
    assert operator.get(address("job_action", "mail")).status_code == 405
    assert operator.get(address("queue_action", "mail")).status_code == 405
    assert post_jobs(strict, "failed", "retry", [job]).status_code == 403
    for outside in ("https://elsewhere.example/", "//elsewhere.example/", "javascript:alert(1)"):
        response = post_jobs(operator, "failed", "retry", [job], next=outside)
        assert response.headers["Location"] == address("queue", "mail")


def test_what_is_not_possible_is_refused(operator, world):
    running, waiting = world.claimed(), world.ready()
    assert post_jobs(operator, "claimed", "discard", [running]).status_code == 400
    assert post_jobs(operator, "ready", "retry", [waiting]).status_code == 400
    assert post_jobs(operator, "ready", "explode", [waiting]).status_code == 400
    assert post_jobs(operator, "nowhere", "discard", [waiting]).status_code == 404
    assert object_action(operator, running, "discard").status_code == 400
    assert operator.post(address("queue_action", "mail"), {"action": "x"}).status_code == 400
    assert Job.objects.count() == 2


def test_the_buttons_of_a_job(operator, world):
    failed, scheduled, finished = world.failed(), world.scheduled(), world.finished()

    object_action(operator, failed, "retry")
    object_action(operator, scheduled, "run_now")
    assert set(ReadyExecution.objects.values_list("job_id", flat=True)) == {failed.pk, scheduled.pk}

    to_copy = object_action(operator, finished, "enqueue").headers["Location"]
    assert operator.get(to_copy).status_code == 200
    copy = Job.objects.exclude(pk__in=[failed.pk, scheduled.pk, finished.pk]).get()
    assert str(copy.pk) in to_copy
    assert copy.payload == finished.payload

    later = world.scheduled()
    object_action(operator, later, "enqueue_copy_now")
    assert ScheduledExecution.objects.get().job_id == later.pk
    assert ReadyExecution.objects.count() == 4

    assert object_action(operator, copy, "discard").status_code == 200
    object_action(operator, copy, "discard", confirm="yes")
    assert not Job.objects.filter(pk=copy.pk).exists()


def test_a_queue_is_paused_resumed_and_cleared(operator, world):
    world.ready()
    other = world.ready(queue_name="other")
    url = address("queue_action", "mail")

    operator.post(url, {"action": "pause"})
    assert QueueInfo("mail").paused
    operator.post(url, {"action": "resume"})
    assert not Pause.objects.exists()

    assert operator.post(url, {"action": "clear", "confirm": "other"}).status_code == 200
    assert Job.objects.count() == 2
    operator.post(url, {"action": "clear", "confirm": "mail"})
    assert Job.objects.get().pk == other.pk
    assert LogEntry.objects.filter(change_message__contains="clear").count() == 1


def test_recurring_tasks_are_run_switched_and_unscheduled(operator, world):
    static, dynamic = world.recurring("static"), world.recurring("dynamic", static=False)

    def act(task, action, **more):
        return operator.post(address("recurring_action", task.pk), {"action": action} | more)

    act(static, "run")
    assert RecurringExecution.objects.get(task_key="static").job_id is not None
    act(static, "disable")
    assert not RecurringTask.objects.get(key="static").enabled
    act(static, "enable")
    assert RecurringTask.objects.get(key="static").enabled

    act(static, "unschedule", confirm="yes")
    assert act(dynamic, "unschedule").status_code == 200
    act(dynamic, "unschedule", confirm="yes")
    assert RecurringTask.objects.get().key == "static"


def test_all_matching_jobs_are_retried_at_once_while_they_are_few(operator, world):
    wanted = [world.failed() for _ in range(3)]
    others = [world.failed(error="builtins.KeyError"), world.failed(queue_name="other")]
    data = {"scope": "all", "error": "builtins.ValueError", "queue": "mail"}

    asked = post_jobs(operator, "failed", "retry", **data)
    assert "error=builtins.ValueError" in text_of(asked)
    post_jobs(operator, "failed", "retry", **data, confirm="yes")

    assert set(ReadyExecution.objects.values_list("job_id", flat=True)) == {x.pk for x in wanted}
    assert FailedExecution.objects.count() == len(others)
    assert BulkAction.objects.get().state == "finished"


def test_a_great_many_jobs_are_left_to_a_job_that_says_how_far_it_is(operator, world, monkeypatch):
    monkeypatch.setattr(bulk, "BATCH", 2)
    for _ in range(7):
        world.failed()
    response = post_jobs(operator, "failed", "discard", scope="all", confirm="yes")
    action = BulkAction.objects.get()
    assert (action.state, action.done) == ("waiting", 4)
    assert response.headers["Location"] == address("bulk", action.pk)
    assert "4 jobs done" in text_of(operator.get(address("bulk", action.pk)))
    after = world.failed()

    [result] = run_jobs()
    assert (result.task.module_path, result.return_value) == (
        "dj_queue.admin.bulk.run_bulk_action",
        7,
    )

    action.refresh_from_db()
    assert (action.state, action.done, action.is_over) == ("finished", 7, True)
    # What failed after it was asked for is left alone.
    assert FailedExecution.objects.get().job_id == after.pk


def test_a_great_action_can_be_stopped_and_only_by_who_may_do_it(
    operator, staff, world, monkeypatch
):
    monkeypatch.setattr(bulk, "BATCH", 1)
    for _ in range(5):
        world.failed()
    post_jobs(operator, "failed", "discard", scope="all", confirm="yes")
    action = BulkAction.objects.get()

    assert staff("view_job", "retry_job").post(address("bulk", action.pk)).status_code == 403
    operator.post(address("bulk", action.pk))
    run_jobs()

    action.refresh_from_db()
    assert (action.state, action.done) == ("stopped", 3)
    assert FailedExecution.objects.count() == 2


def test_the_tables_of_the_admin_have_the_same_actions(operator, staff, world):
    jobs = [world.failed() for _ in range(3)]
    url = reverse("admin:dj_queue_failedexecution_changelist")
    rows = [FailedExecution.objects.get(job=job).pk for job in jobs]

    operator.post(url, {"action": "retry_jobs", "_selected_action": [rows[0]]})
    assert ReadyExecution.objects.get().job_id == jobs[0].pk
    chosen = {"action": "discard_jobs", "_selected_action": [rows[1]]}
    assert operator.post(url, chosen).status_code == 200
    operator.post(url, chosen | {"confirm": "yes"})
    change = reverse("admin:dj_queue_failedexecution_change", args=[rows[2]])
    viewer = staff("view_job", "view_failedexecution")
    assert viewer.post(change, {"_djq_object_action": "retry"}).status_code == 403
    assert 'value="retry"' not in viewer.get(change).content.decode()
    operator.post(change, {"_djq_object_action": "retry"})
    assert set(Job.objects.values_list("pk", flat=True)) == {jobs[0].pk, jobs[2].pk}

    pause = Pause.objects.create(queue_name="mail", created_at=world.now - timedelta(hours=1))
    resume = reverse("admin:dj_queue_pause_change", args=[pause.pk])
    assert viewer.post(resume, {"_djq_object_action": "resume"}).status_code == 403
    operator.post(resume, {"_djq_object_action": "resume"})
    assert not Pause.objects.exists()


def test_tables_are_read_only_and_open(operator, world):
    world.everything()
    Pause.objects.create(queue_name="mail")
    for name in ("job", "failedexecution", "process", "recurringtask", "pause", "semaphore"):
        model = {
            "job": Job,
            "failedexecution": FailedExecution,
        }.get(name)
        listing = reverse(f"admin:dj_queue_{name}_changelist")
        assert operator.get(listing).status_code == 200, name
        assert operator.get(listing, {"backend": "default"}).status_code == 200, name
        assert operator.get(reverse(f"admin:dj_queue_{name}_add")).status_code == 403, name
        if model is not None:
            pk = model.objects.first().pk
            gone = operator.post(reverse(f"admin:dj_queue_{name}_delete", args=[pk]))
            assert gone.status_code == 403


@pytest.mark.parametrize(("action", "state"), [each[:2] for each in JOB_ACTIONS])
def test_an_action_costs_the_same_for_three_jobs_and_for_thirty(operator, world, action, state):
    costs = []
    post_jobs(operator, state, action, [getattr(world, state)()], confirm="yes")
    for count in (3, 30):
        jobs = [getattr(world, state)() for _ in range(count)]
        with CaptureQueriesContext(connection) as queries:
            post_jobs(operator, state, action, jobs, confirm="yes")
        costs.append(len(queries))
    assert costs[0] == costs[1]
