"""Every page: that it opens, what it says, and what it costs."""

import re
from datetime import timedelta

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dj_queue.admin.queries import counting, failures, job_list
from dj_queue.models import FailedExecution, PastPause, Pause, Process

PAGES = (
    "changelist",
    "queues",
    "jobs",
    "failures",
    "tasks",
    "recurring",
    "processes",
    "limits",
    "diagnostics",
)
STATES = ("all", "ready", "scheduled", "claimed", "blocked", "failed", "finished")


def address(name: str, *args) -> str:
    return reverse(f"admin:dj_queue_dashboard_{name}", args=args)


def text_of(response) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def inline(html: str) -> list[str]:
    """What a strict content security policy forbids."""
    return re.findall(r"\sstyle=|<style|<script(?![^>]*\bsrc=)|\son[a-z]+=", html)


def all_addresses(jobs) -> list[str]:
    return [
        *(address(name) for name in PAGES),
        *(f"{address('jobs')}?state={state}" for state in STATES),
        *(f"{address('queue', 'mail')}?state={state}" for state in STATES),
        *(reverse("admin:dj_queue_job_change", args=[job.pk]) for job in jobs.values()),
    ]


def test_every_page_opens_costs_less_than_twenty_queries_and_has_nothing_inline(staff, world):
    client = staff("view_job", "view_job_args")
    for url in all_addresses({}):
        assert client.get(url).status_code == 200, url

    jobs = world.everything()

    for url in all_addresses(jobs):
        with CaptureQueriesContext(connection) as queries:
            response = client.get(url)
        assert response.status_code == 200, url
        assert len(queries) < 20, (url, [each["sql"][:150] for each in queries])
        assert inline(response.content.decode()) == [], url


def test_the_overview_says_in_words_how_it_is(operator, world):
    assert "no process runs jobs of backend" in text_of(operator.get(address("changelist")))

    world.process()
    assert "All is well: 1 worker runs jobs" in text_of(operator.get(address("changelist")))

    world.ready()
    Pause.objects.create(queue_name="mail")
    world.failed()
    text = text_of(operator.get(address("changelist")))
    assert "The queue “mail” is paused, and 1 job waits in it." in text
    assert "1 job failed in the last hour." in text

    Pause.objects.all().delete()
    Process.objects.filter(kind="Worker").update(metadata={"queues": "other", "threads": 3})
    text = text_of(operator.get(address("changelist")))
    assert "No living worker serves the queue “mail”: 1 job waits, for 5 min" in text


def test_the_app_index_leads_to_the_dashboard_with_its_query(operator):
    response = operator.get("/admin/dj_queue/?backend=default")
    target = f"{address('changelist')}?backend=default"
    assert f'http-equiv="refresh" content="0; url={target}"' in response.content.decode()

    own = operator.get("/own-admin/dj_queue/?backend=default")
    assert own.status_code == 302
    assert own.headers["Location"] == target.replace("/admin/", "/own-admin/")


def test_a_site_of_the_project_has_the_dashboard_at_its_own_addresses(operator, world):
    jobs = world.everything()
    index = operator.get("/own-admin/").content.decode()
    assert index.index("/own-admin/dj_queue/") < index.index("/own-admin/auth/")
    for url in all_addresses({"failed": jobs["failed"]})[: len(PAGES)]:
        content = operator.get(url.replace("/admin/", "/own-admin/")).content.decode()
        assert 'href="/own-admin/dj_queue/dashboard/' in content, url
        assert '"/admin/' not in content, url


def test_unknown_backends_states_and_jobs_are_not_found(operator, world):
    job = world.ready()
    for url in (
        f"{address('changelist')}?backend=nobody",
        f"{address('jobs')}?state=lost",
        f"{address('queue', 'mail')}?state=lost",
        reverse("admin:dj_queue_job_change", args=["no-id"]),
        reverse("admin:dj_queue_job_change", args=["0" * 32]),
        address("bulk", 1),
    ):
        assert operator.get(url).status_code == 404, url
    assert operator.get(address("queue", "a queue/with ünusual signs")).status_code == 200
    assert operator.get(f"{address('changelist')}?backend={job.backend_alias}").status_code == 200


def test_jobs_are_filtered_by_what_stands_in_the_address(operator, world):
    hit = world.failed(queue_name="a", priority=7)
    other_task = world.failed(queue_name="b", task_path="tests.site.tasks.noop")
    other_error = world.failed(error="builtins.KeyError", queue_name="b")
    old = world.failed(queue_name="b", created_at=world.now - timedelta(days=3))
    day = (world.now - timedelta(days=1)).isoformat()

    def shown(**query) -> set:
        response = operator.get(address("jobs"), {"state": "failed"} | query)
        return {row.job.pk for row in response.context["jobs"].rows}

    assert shown(queue="a") == {hit.pk}
    assert shown(task="tests.site.tasks.noop") == {other_task.pk}
    assert shown(task="tests.site.tasks.*") == {hit.pk, other_task.pk, other_error.pk, old.pk}
    assert shown(error="builtins.KeyError") == {other_error.pk}
    assert shown(priority="7") == {hit.pk}
    assert shown(until=day) == {old.pk}
    assert shown(since=day, queue="b") == {other_task.pk, other_error.pk}
    assert shown(id=str(old.pk)) == {old.pk}
    assert shown(id=str(old.pk), state="ready") == set()
    problem = operator.get(address("jobs"), {"priority": "high", "since": "soon", "id": "x"})
    assert len(problem.context["filter_problems"]) == 3


def test_finished_jobs_and_those_of_recurring_tasks_are_found(operator, world):
    jobs = world.everything()
    for query, wanted in (
        ({"state": "finished"}, {jobs["finished"].pk}),
        ({"state": "finished", "recurring": "nightly"}, {jobs["finished"].pk}),
        ({"state": "all", "recurring": "nightly"}, {jobs["finished"].pk}),
        ({"state": "blocked", "key": "account/1"}, {jobs["blocked"].pk}),
        ({"state": "claimed", "worker": "worker-1@host:7:0"}, {jobs["claimed"].pk}),
    ):
        found = operator.get(address("jobs"), query).context["jobs"].rows
        assert {row.job.pk for row in found} >= wanted, query
        assert "all" in query["state"] or {row.state for row in found} == {query["state"]}


def test_every_list_is_gone_through_page_by_page_without_losing_or_repeating_a_job(
    operator, world, monkeypatch
):
    monkeypatch.setattr(job_list, "PAGE", 3)
    for state in ("ready", "scheduled", "blocked", "claimed", "failed", "finished"):
        made = [getattr(world, state)(priority=n % 3) for n in range(8)]
        wanted = {job.pk for job in made}
        seen, url = [], f"{address('jobs')}?state={state}"
        while url:
            response = operator.get(url)
            seen += [row.job.pk for row in response.context["jobs"].rows]
            url = response.context["next_url"] and address("jobs") + response.context["next_url"]
        assert len(seen) == len(wanted), state
        assert set(seen) == wanted, state


def test_a_filter_without_an_index_looks_at_a_bounded_number_of_jobs_and_says_so(
    operator, world, monkeypatch
):
    monkeypatch.setattr(job_list, "PAGE", 2)
    monkeypatch.setattr(job_list, "WINDOW", 6)
    wanted = world.failed(error="builtins.KeyError", created_at=world.now)
    FailedExecution.objects.filter(job=wanted).update(created_at=world.now - timedelta(hours=1))
    for _ in range(20):
        world.failed()

    url = f"{address('jobs')}?state=failed&error=builtins.KeyError"
    response = operator.get(url)
    assert response.context["jobs"].rows == []
    assert "10 jobs looked at" in text_of(response)
    further = operator.get(address("jobs") + response.context["next_url"])
    further = operator.get(address("jobs") + further.context["next_url"])
    assert [row.job.pk for row in further.context["jobs"].rows] == [wanted.pk]


def test_a_broken_page_mark_means_the_first_page(operator, world):
    world.ready()
    for mark in ("x", "W10", "bnVsbA", "WyJhIiwgImIiLCAiYyJd", "é"):
        rows = operator.get(address("jobs"), {"state": "ready", "after": mark}).context["jobs"].rows
        assert len(rows) == 1, mark


def test_counts_stop_at_a_limit(operator, world, monkeypatch):
    monkeypatch.setattr(counting, "CAP", 3)
    monkeypatch.setattr(counting, "WINDOW", 3)
    monkeypatch.setattr(failures, "WINDOW", 3)
    for _ in range(5):
        world.ready()
        world.scheduled()
        world.claimed()
        world.failed()
    cards = {
        card.label: card.value for card in operator.get(address("changelist")).context["cards"]
    }
    assert {cards[name] for name in ("Ready", "Scheduled", "Running", "Failed")} == {"3+"}


def test_time_in_which_a_queue_was_paused_is_no_wait(operator, world):
    world.ready()
    PastPause.objects.create(
        queue_name="mail",
        paused_at=world.now - timedelta(minutes=4),
        resumed_at=world.now - timedelta(minutes=1),
    )
    (row,) = operator.get(address("queues")).context["queues"].rows
    assert 120 <= row.line.wait < 180

    Pause.objects.create(queue_name="mail")
    (row,) = operator.get(address("queues")).context["queues"].rows
    assert row.line.wait is None
    assert row.line.paused_since is not None


def test_tables_are_sorted_and_paged_by_the_address(operator, world):
    for n in range(20):
        world.ready(queue_name=f"queue-{n:02}")
    world.ready(queue_name="queue-07")
    response = operator.get(address("queues"), {"queues_sort": "-ready.name"})
    names = [row.line.name for row in response.context["queues"].rows]
    assert names[:3] == ["queue-07", "queue-00", "queue-01"]
    assert len(names) == 18
    second = operator.get(address("queues"), {"queues_sort": "-ready.name", "queues_page": "2"})
    assert [row.line.name for row in second.context["queues"].rows] == ["queue-18", "queue-19"]
    assert (
        operator.get(address("queues"), {"queues_page": "x", "queues_sort": "?"}).status_code == 200
    )


def test_failures_are_grouped_by_error_and_task(operator, world):
    for _ in range(3):
        world.failed()
    world.failed(error="builtins.KeyError")
    groups = operator.get(address("failures")).context["groups"].rows
    assert [(group.short_error, group.count, group.last_hour) for group in groups] == [
        ("ValueError", 3, 3),
        ("KeyError", 1, 1),
    ]


def test_arguments_and_results_need_a_permission_and_secrets_are_hidden(staff, world):
    job = world.finished(
        payload={"args": [1, 2], "kwargs": {"api_token": "abc", "deep": [{"Password": "abc"}]}}
    )
    url = reverse("admin:dj_queue_job_change", args=[job.pk])

    without = staff("view_job").get(url).content.decode()
    assert "api_token" not in without
    assert "You may not see arguments and results" in without

    text = staff("view_job", "view_job_args").get(url).content.decode()
    assert "abc" not in text.replace("worker-1@host:1:abc", "")
    assert "hush" not in text
    assert "api_token" in text
    assert "&quot;sum&quot;: 3" in text


def test_a_job_links_to_its_trace_and_shows_each_attempt(operator, world, settings):
    options = {"admin": {"trace_url": "https://traces.example/{trace_id}"}}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    trace = "0af7651916cd43dd8448eb211c80319c"
    job = world.failed(trace_context={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    response = operator.get(reverse("admin:dj_queue_job_change", args=[job.pk]))
    content = response.content.decode()
    assert f'href="https://traces.example/{trace}"' in content
    assert "Traceback (most recent call last)" in content
    assert [each.outcome for each in response.context["attempts"]] == ["failed"]


def test_what_tasks_and_users_write_is_escaped(operator, world):
    evil = "<script>alert(1)</script>"
    job = world.failed(
        error=f"x.{evil}", queue_name=evil[:60], payload={"args": [evil], "kwargs": {}}
    )
    world.recurring(evil, description=evil)
    for url in (
        *all_addresses({"failed": job}),
        f"{address('limits')}?q={evil}",
        f"{address('jobs')}?task={evil}&since={evil}",
    ):
        assert evil not in operator.get(url).content.decode(), url


def hides_amounts(task_path: str, name: str, value: object) -> bool:
    return task_path.endswith(".add") and name == "b"


def test_a_project_says_itself_what_to_hide(operator, world, settings):
    options = {"admin": {"redact": [], "redact_with": f"{__name__}.hides_amounts"}}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    job = world.ready(payload={"args": [7654, 8765], "kwargs": {"token": "9876"}})
    content = operator.get(reverse("admin:dj_queue_job_change", args=[job.pk])).content.decode()
    assert "7654" in content
    assert "9876" in content
    assert "8765" not in content


def test_diagnostics_tells_of_tables_what_the_database_knows(operator):
    shown = text_of(operator.get(address("diagnostics")))

    is_silent = connection.vendor == "sqlite"
    assert ("This database does not tell how large its tables are." in shown) == is_silent
    assert ("dj_queue_jobs" in shown) == (not is_silent)


def test_pages_open_where_times_are_local(operator, world, settings):
    # The rows are made in the other way first, so that only the reading is local.
    jobs = world.everything()
    settings.USE_TZ = False
    for url in all_addresses(jobs):
        assert operator.get(url).status_code == 200, url
