"""Stats, metrics and health over HTTP: closed by default, and right when they are open."""

import json

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

from dj_queue import probes
from dj_queue.contrib import prometheus
from dj_queue.models import Leadership, Occurrence, Pause, Process, ReadyExecution, Statistic
from dj_queue.models.statistics import ENQUEUED, FAILURE, MISSED
from dj_queue.runtime import statistics
from tests.runtime.conftest import failures, finished, make_runtime  # noqa: F401
from tests.site import poison, tasks
from tests.waiting import wait_until

BEARER = {"Authorization": "Bearer a secret"}


@pytest.fixture(autouse=True)
def asked_anew():
    probes._kept.forget()


@pytest.fixture
def token(settings):
    settings.DJ_QUEUE_OBSERVABILITY_TOKEN = "a secret"


@pytest.fixture
def public(settings):
    settings.DJ_QUEUE_OBSERVABILITY_PUBLIC = True


def get(name, headers=None, **query):
    return Client(raise_request_exception=True).get(
        reverse(f"dj_queue:{name}"), query, headers=headers
    )


def samples(response=None):
    """The values of all metrics, by name and labels."""
    text = (response or get("metrics")).content.decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def value(found, name, **labels):
    return found[name, tuple(sorted(labels.items()))]


@pytest.mark.parametrize("name", ["stats", "metrics"])
class TestWhoMaySee:
    def test_nobody_by_default(self, name):
        refused = get(name)

        assert refused.status_code == 401
        assert refused.content == b""
        assert refused.headers["WWW-Authenticate"] == "Bearer"

    def test_who_bears_the_token(self, name, token):
        assert get(name, BEARER).status_code == 200
        assert get(name, {"Authorization": "bEARER a secret"}).status_code == 200

    @pytest.mark.parametrize(
        "given", ["", "Bearer", "Bearer another", "Basic a secret", "a secret", "Bearer ä"]
    )
    def test_nobody_with_anything_else(self, name, token, given):
        assert get(name, {"Authorization": given}).status_code == 401

    def test_everybody_where_the_project_says_so(self, name, public):
        assert get(name).status_code == 200

    def test_a_token_is_asked_for_even_then(self, name, public, token):
        assert get(name).status_code == 401

    def test_only_true_opens(self, name, settings):
        settings.DJ_QUEUE_OBSERVABILITY_PUBLIC = "False"

        assert get(name).status_code == 401

    def test_a_token_that_is_no_text_is_an_error(self, name, settings):
        settings.DJ_QUEUE_OBSERVABILITY_TOKEN = 7

        with pytest.raises(ImproperlyConfigured, match="must be a string, not of type int"):
            get(name)


def test_stats_are_json_and_not_kept_by_anybody(public):
    tasks.add.enqueue(1, 1)

    answer = get("stats")

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    [backend] = json.loads(answer.content)["backends"]
    assert backend["queues"][0]["ready_count"] == 1


def test_stats_say_so_when_the_database_does_not_answer(public, monkeypatch):
    monkeypatch.setattr("dj_queue.reads.stats.snapshot", refuse)

    answer = get("stats")

    assert answer.status_code == 503
    assert "secret" not in answer.content.decode()


def test_every_documented_gauge_is_told(public, make_runtime):  # noqa: F811
    make_runtime(clear_failed_jobs_after=3600)
    wait_until(Leadership.objects.exists)
    Pause.objects.create(queue_name="held")
    tasks.add.using(queue_name="held").enqueue(1, 1)

    names = {name for name, _ in samples()}

    assert {
        "dj_queue_queue_jobs", "dj_queue_queue_paused", "dj_queue_queue_live_workers",
        "dj_queue_runner_processes", "dj_queue_runner_processes_by_kind", "dj_queue_recurring_tasks",
        "dj_queue_semaphores", "dj_queue_process_rows", "dj_queue_failed_jobs", "dj_queue_processes",
        "dj_queue_process_last_heartbeat_timestamp_seconds",
        "dj_queue_leader_progress_timestamp_seconds", "dj_queue_build_info",
        "dj_queue_scrape_duration_seconds", "dj_queue_up", "dj_queue_semaphore_in_use",
        "dj_queue_semaphore_waiting", "dj_queue_semaphore_limit",
    } <= names  # fmt: skip


def test_gauges_have_the_values_of_the_stats(public):
    tasks.add.using(queue_name="mail").enqueue(1, 1)
    Process.objects.create(
        name="w", kind="Worker", pid=1, hostname="h", metadata={"queues": "mail"}
    )

    found = samples()

    mail = {"backend": "default", "queue": "mail"}
    assert value(found, "dj_queue_queue_jobs", **mail, state="ready") == 1
    assert value(found, "dj_queue_queue_jobs", **mail, state="failed") == 0
    assert value(found, "dj_queue_queue_paused", **mail) == 0
    assert value(found, "dj_queue_queue_live_workers", **mail) == 1
    assert value(found, "dj_queue_queue_latency_seconds", **mail) >= 0
    since = ReadyExecution.objects.get().created_at.timestamp()
    assert value(found, "dj_queue_queue_oldest_ready_timestamp_seconds", **mail) == since
    assert value(found, "dj_queue_runner_processes", backend="default", status="live") == 1
    assert value(found, "dj_queue_up", backend="default") == 1


def test_counters_and_histograms_count_what_ran_and_stay(public, make_runtime, finished):  # noqa: F811
    statistics._tallies_of("default").take()  # What other tests have left behind.
    runtime = make_runtime()
    finished(*(tasks.add.enqueue(1, number) for number in range(3)), poison.raise_text.enqueue("x"))
    runtime.stop(10)
    wait_until(lambda: Statistic.objects.filter(minute=0).count() == 2)

    found = samples()

    added = {"backend": "default", "queue": "default", "task": "tests.site.tasks.add"}
    raised = {**added, "task": "tests.site.poison.raise_text"}
    processed = "dj_queue_jobs_processed_total"
    assert value(found, processed, **added, outcome="succeeded") == 3
    assert value(found, processed, **added, outcome="failed") == 0
    assert value(found, processed, **raised, outcome="failed") == 1
    assert value(found, "dj_queue_job_retries_total", **added) == 0
    assert value(found, "dj_queue_job_duration_seconds_count", **added) == 3
    assert value(found, "dj_queue_job_duration_seconds_bucket", **added, le="+Inf") == 3
    assert value(found, "dj_queue_job_wait_seconds_count", **added) == 3
    Statistic.objects.filter(minute__gt=0).delete()
    assert (
        samples().items()
        >= {key: number for key, number in found.items() if "_total" in key[0]}.items()
    )


def test_failures_by_error_and_missed_times_are_told(public, settings):
    for kind, queue, task, about, times in (
        (FAILURE, "mail", "app.tasks.one", "builtins.KeyError", 3),
        (MISSED, "", "", "nightly", 2),
    ):
        Occurrence.objects.create(
            backend_alias="default",
            kind=kind,
            queue_name=queue,
            task_path=task,
            about=about,
            times=times,
        )

    assert "dj_queue_job_failures_total" not in {name for name, _ in samples()}

    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": {"statistics_errors": 5}}}
    labels = {"backend": "default", "queue": "mail", "task": "app.tasks.one"}
    found = samples()
    assert value(found, "dj_queue_job_failures_total", **labels, exception="builtins.KeyError") == 3
    assert value(found, "dj_queue_recurring_missed_total", backend="default", key="nightly") == 2


def test_enqueues_are_told_where_they_are_counted(public, settings):
    Occurrence.objects.create(
        backend_alias="default", kind=ENQUEUED, queue_name="mail", task_path="t", times=4
    )
    assert "dj_queue_jobs_enqueued_total" not in {name for name, _ in samples()}

    options = {"statistics_enqueued": True}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}

    labels = {"backend": "default", "queue": "mail", "task": "t"}
    assert value(samples(), "dj_queue_jobs_enqueued_total", **labels) == 4


def test_metrics_come_in_the_format_that_is_asked_for(public):
    plain, wanted = get("metrics"), get("metrics", {"Accept": "application/openmetrics-text;q=1"})

    assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert wanted.headers["Content-Type"].startswith("application/openmetrics-text")
    assert list(parse_open(wanted.content.decode()))


def test_metrics_are_told_without_the_database(public, monkeypatch):
    monkeypatch.setattr("dj_queue.reads.stats.snapshot", refuse)

    answer = get("metrics")

    assert answer.status_code == 200
    assert value(samples(answer), "dj_queue_up", backend="default") == 0


def test_metrics_say_what_to_install(public, monkeypatch):
    monkeypatch.setattr(prometheus, "registry", None)

    answer = get("metrics")

    assert answer.status_code == 503
    assert b'pip install "dj-queue[prometheus]"' in answer.content


def test_health_says_yes_when_jobs_are_run(make_runtime):  # noqa: F811
    make_runtime()
    wait_until(Leadership.objects.exists)

    answer = get("health")

    assert (answer.status_code, answer.content) == (200, b"ok")
    assert get("health", probe="live").status_code == 200


def test_health_says_no_and_why_only_to_who_may_know(token):
    refused, told = get("health", probe="ready"), get("health", BEARER)

    assert (refused.status_code, refused.content) == (503, b"not ok")
    assert told.status_code == 503
    assert b"no process runs jobs of backend 'default'" in told.content


def test_health_says_no_without_the_database(token, monkeypatch):
    monkeypatch.setattr("dj_queue.probes._problems", refuse)

    assert get("health").content == b"not ok"
    assert b"does not answer" in get("health", BEARER).content


def test_a_process_without_a_runtime_is_live():
    assert get("health", probe="live").content == b"ok"


def test_an_unknown_probe_is_refused():
    assert get("health", probe="deep").status_code == 400


def test_health_asks_the_database_at_most_every_two_seconds():
    get("health")

    with CaptureQueriesContext(connection) as seen:
        get("health")

    assert len(seen) == 0


def refuse(*_, **__):
    raise OperationalError("refused, with a secret in it")
