"""Somebody with a browser watches jobs and acts on them, under a policy that allows nothing inline."""

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from dj_queue.models import FailedExecution, Job, Pause, ReadyExecution
from tests.admin.test_pages import PAGES, STATES
from tests.admin.world import World
from tests.browser.visitor import DASHBOARD
from tests.site import browser_tasks, tasks
from tests.waiting import wait_until

PASSWORD = "correct horse"


@pytest.fixture
def olga():
    return User.objects.create_superuser("olga", password=PASSWORD)


def test_numbers_move_while_jobs_run_and_stand_still_while_somebody_acts(visitor, olga):
    Pause.objects.create(queue_name="mail")
    visitor.log_in("olga", PASSWORD)
    assert visitor.card("Ready") == "0"

    visitor.choose("[data-djq-interval]", "2")
    backend = browser_tasks.send.get_backend()
    backend.enqueue_all([(browser_tasks.send, (n,), {}) for n in range(7)])
    wait_until(lambda: visitor.card("Ready") == "7", what="7 ready jobs, seen without a reload")
    visitor.sees("The queue “mail” is paused, and 7 jobs wait in it.")
    visitor.sees("updated", "[data-djq-status]")

    visitor.run("document.querySelector('#djq-queues a').focus()")
    visitor.sees("paused", "[data-djq-status]")
    visitor.run("document.activeElement.blur()")

    visitor.press("Resume", "#djq-queues")
    visitor.sees("“mail” is not paused any more.")
    wait_until(lambda: visitor.card("Ready") == "0", what="no ready jobs, seen without a reload")
    assert Job.objects.filter(queue_name="mail").finished().count() == 7


def test_a_page_on_which_nothing_happens_is_left_as_it_is(visitor, olga):
    World().failed(error="builtins.KeyError")
    visitor.log_in("olga", PASSWORD)
    visitor.open(f"{DASHBOARD}failures/")
    visitor.choose("[data-djq-interval]", "2")
    visitor.sees("unchanged", "[data-djq-status]")
    visitor.run(
        """
        const status = document.querySelector("[data-djq-status]");
        const said = (window.said = []);
        new MutationObserver(() => said.push(status.textContent)).observe(status, { childList: true });
        document.querySelector("#djq-failures").dataset.mark = "mine";
        """
    )
    wait_until(lambda: any("unchanged" in each for each in visitor.run("return window.said")))
    said, mark = visitor.run(
        "return [window.said, document.querySelector('#djq-failures').dataset.mark]"
    )
    # Once in a minute it is replaced all the same, and then it says so.
    assert (mark == "mine") == all("unchanged" in each for each in said)

    World().failed(error="builtins.LookupError")
    visitor.sees("LookupError", "#djq-failures")
    assert visitor.attribute("#djq-failures", "data-mark") is None


def test_ids_arguments_and_tracebacks_are_copied(visitor, olga):
    job = World().failed(payload={"args": ["some text"], "kwargs": {}})
    visitor.log_in("olga", PASSWORD)
    visitor.may_use_the_clipboard()
    visitor.open(reverse("admin:dj_queue_job_change", args=[job.pk]))
    for within, copied in (
        ("#djq-facts", str(job.pk)),
        ("#djq-arguments", '"some text"'),
        ("#djq-attempts", job.errors[0]["traceback"]),
    ):
        visitor.press("Copy", within)
        visitor.sees("Copied", within)
        assert visitor.clipboard() == copied


def test_failed_jobs_are_found_and_retried_one_by_one_and_all_at_once(visitor, olga, tmp_path):
    there = tmp_path / "there"
    results = [browser_tasks.fails_until.enqueue(str(there)) for _ in range(5)]
    wait_until(lambda: FailedExecution.objects.count() == 5)
    World().failed(error="builtins.KeyError")
    visitor.log_in("olga", PASSWORD)

    visitor.open(f"{DASHBOARD}failures/")
    visitor.sees("LookupError")
    visitor.click("#djq-failures tbody th a")
    wait_until(lambda: "error=builtins.LookupError" in visitor.driver.current_url)
    visitor.sees("fails_until")
    assert visitor.text("#djq-jobs tbody").count("LookupError") == 5

    visitor.open(reverse("admin:dj_queue_job_change", args=[results[0].id]))
    visitor.sees("LookupError", "#djq-attempts")
    there.touch()
    visitor.press("Retry", "#djq-job")
    visitor.sees("Retry: 1 job.")
    wait_until(lambda: Job.objects.filter(pk=results[0].id).finished().exists())

    visitor.open(f"{DASHBOARD}jobs/?state=failed&error=builtins.LookupError")
    visitor.press("Retry all matching", ".djq-on-all")
    visitor.sees("all jobs with state=failed, error=builtins.LookupError (4 jobs)")
    visitor.press("Yes, Retry")
    visitor.sees("Retry: 4 jobs.")
    ids = [result.id for result in results]
    wait_until(lambda: Job.objects.filter(pk__in=ids).finished().count() == 5)
    assert FailedExecution.objects.get().exception_class == "builtins.KeyError"


def test_a_queue_is_paused_and_cleared_once_its_name_was_typed(visitor, olga):
    World().finished(queue_name="default")
    visitor.log_in("olga", PASSWORD)
    tasks.noop.enqueue()
    visitor.open(f"{DASHBOARD}queue/default/")
    visitor.press("Pause", "#djq-queue")
    visitor.sees("“default” is paused.")
    jobs = [tasks.noop.enqueue() for _ in range(3)]
    visitor.open(f"{DASHBOARD}queue/default/")
    assert len(visitor.texts("#djq-jobs tbody input")) == 3

    visitor.press("Clear", "#djq-queue")
    visitor.fill("confirm", "something else")
    visitor.press("Yes, Clear")
    visitor.sees("That is not the name of the queue.")
    assert ReadyExecution.objects.count() == 3
    visitor.fill("confirm", "default")
    visitor.press("Yes, Clear")

    visitor.sees("“default”: 3 jobs discarded.")
    assert not Job.objects.filter(pk__in=[job.id for job in jobs]).exists()


def test_every_page_in_light_and_dark_on_a_narrow_screen(visitor, olga):
    jobs = World().everything()
    visitor.log_in("olga", PASSWORD)
    visitor.driver.set_window_size(500, 900)
    pages = [f"{DASHBOARD}{'' if name == 'changelist' else name + '/'}" for name in PAGES]
    pages += [f"{DASHBOARD}queue/mail/?state={state}" for state in STATES]
    pages += [reverse("admin:dj_queue_job_change", args=[jobs["failed"].pk])]
    for path in pages:
        visitor.open(path)
        width, room = visitor.run(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert width <= room, f"{path} is {width} wide on a screen of {room}"

    grounds = {}
    for scheme in ("light", "dark"):
        visitor.prefers(scheme)
        grounds[scheme] = visitor.run(
            "return [getComputedStyle(document.body).backgroundColor,"
            " getComputedStyle(document.querySelector('.djq-tag')).backgroundColor]"
        )
    assert grounds["light"][0] != grounds["dark"][0]
    assert grounds["light"][1] != grounds["dark"][1]


def test_who_may_only_look_sees_no_button_and_is_refused(visitor):
    world = World()
    world.everything()
    viewer = User.objects.create_user("vera", password=PASSWORD, is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_dashboard"))
    visitor.log_in("vera", PASSWORD)
    for path in ("", "queues/", "jobs/?state=failed", "failures/", "recurring/", "queue/mail/"):
        visitor.open(f"{DASHBOARD}{path}")
        assert [text for text in visitor.buttons() if text not in ("Show", "")] == [], path

    visitor.expected += ("403 (Forbidden)",)
    status = visitor.run(
        """
        const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
        const request = new XMLHttpRequest();
        request.open("POST", arguments[0], false);
        request.setRequestHeader("X-CSRFToken", token);
        request.setRequestHeader("Content-Type", "application/x-www-form-urlencoded");
        request.send("action=pause");
        return request.status;
        """,
        f"{DASHBOARD}queue/mail/action/",
    )
    assert status == 403
    assert not Pause.objects.exists()
