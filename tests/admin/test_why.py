"""Somebody new to the project, with a job that does not run, and nothing but the dashboard.

Each begins at the overview and only follows links: to the state that its card names, to the job, and there
stands the reason with what would help. Where nothing runs at all, the first line of the overview says so.
"""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import urljoin

import pytest

from dj_queue.models import (
    FailedExecution,
    Leadership,
    Pause,
    Process,
    ReadyExecution,
    Semaphore,
    SemaphoreHolder,
)
from dj_queue.reads import explain
from dj_queue.states import Executor
from tests.admin.test_pages import address, text_of


class Newcomer:
    """Clicks on what is shown."""

    def __init__(self, client):
        self._client = client
        self._url = address("changelist")
        self.page = client.get(self._url)

    @property
    def text(self) -> str:
        return " ".join(unescape(text_of(self.page)).split())

    def reads(self, *sentences: str) -> None:
        for sentence in sentences:
            assert sentence in self.text, f"{sentence!r} is not on {self._url}: {self.text}"

    def follows(self, words: str) -> None:
        """The first link whose text begins with *words*."""
        for href, shown in re.findall(
            r'<a [^>]*?href="([^"]*)"[^>]*>(.*?)</a>', self.page.content.decode(), re.DOTALL
        ):
            if " ".join(re.sub(r"<[^>]+>", " ", shown).split()).startswith(words):
                self._url = urljoin(self._url, unescape(href))
                self.page = self._client.get(self._url)
                assert self.page.status_code == 200
                return
        raise AssertionError(f"no link {words!r} on {self._url}")

    def looks_for_the_job(self, card: str) -> None:
        self.follows(card)
        self.follows("add")
        self.reads("tests.site.tasks.add")


@pytest.fixture
def newcomer(staff):
    """Opens the overview, with no permission but to look."""
    return lambda: Newcomer(staff("view_dashboard"))


def test_it_is_scheduled(newcomer, world):
    world.process()
    world.scheduled()
    person = newcomer()
    person.looks_for_the_job("Scheduled")
    person.reads("It is scheduled for", "by the database's clock")


def test_its_concurrency_key_is_taken(newcomer, world):
    holder = world.claimed(world.process(), concurrency_key="account/1", concurrency_limit=1)
    SemaphoreHolder.objects.create(job=holder, key="account/1")
    world.blocked()
    person = newcomer()
    person.looks_for_the_job("Blocked")
    person.reads("It waits for a slot of 'account/1'", str(holder.pk), "It goes on when one of")
    person.follows("Concurrency key account/1")
    person.reads("In use")


def test_its_queue_is_paused(newcomer, world):
    world.process()
    world.ready()
    Pause.objects.create(queue_name="mail")
    person = newcomer()
    person.reads("The queue “mail” is paused, and 1 job waits in it.")
    person.looks_for_the_job("Ready")
    person.reads("Why it does not run: Its queue 'mail' is paused since", "What helps: Resume it:")
    person.follows("Queue mail")
    person.reads("paused")


def test_no_worker_lives(newcomer, world):
    world.ready()
    person = newcomer()
    person.reads("Jobs are not being run as they should", "no process runs jobs of backend")
    person.looks_for_the_job("Ready")
    person.reads("No worker of backend 'default' lives", "Start a process that has one")
    person.follows("Processes")
    person.reads("No process runs jobs of this backend.")


def test_no_living_worker_serves_its_queue(newcomer, world):
    world.process(queues="reports")
    world.ready()
    person = newcomer()
    person.reads("No living worker serves the queue “mail”")
    person.looks_for_the_job("Ready")
    person.reads("serves the queue 'mail'", "Add 'mail' to the 'queues' of a worker")


def test_no_worker_of_its_queue_has_its_executor(newcomer, world):
    world.process()
    world.ready()
    ReadyExecution.objects.update(executor=Executor.PROCESS)
    person = newcomer()
    person.looks_for_the_job("Ready")
    person.reads(
        "The workers of the queue 'mail' have no executor 'process', which its task needs.",
        "Add a worker for 'mail' with 'executor': 'process'.",
    )


def test_its_workers_are_busy(newcomer, world):
    worker = world.process()
    running = [world.claimed(worker) for _ in range(3)]
    world.ready()
    person = newcomer()
    person.looks_for_the_job("Ready")
    person.reads(
        "Its workers are busy: they run 3 jobs and have room for 3.", "It starts when others"
    )
    person.follows(f"Job …{str(running[0].pk)[-8:]}")
    person.reads(str(running[0].pk))


def test_it_is_tried_again_later(newcomer, world):
    world.process()
    world.failed()
    FailedExecution.objects.update(retry_at=world.now + timedelta(minutes=10))
    person = newcomer()
    person.follows("Failed")
    person.follows("ValueError")
    person.follows("add")
    person.reads("Why it does not run: Its last attempt failed with", "and it is tried again at")


def test_its_rate_is_used_up(newcomer, world):
    world.process()
    end = world.now + timedelta(minutes=1)
    Semaphore.objects.create(key="account/1", value=0, limit=1, period=60, expires_at=end)
    SemaphoreHolder.objects.create(key="account/1", expires_at=end)
    world.blocked()
    person = newcomer()
    person.looks_for_the_job("Blocked")
    person.reads("It waits for the rate limit 'account/1': 1 of 1 jobs", "and the next one may at")


def test_nobody_leads(newcomer, world):
    world.process()
    Process.objects.filter(kind="Dispatcher").delete()
    world.scheduled(scheduled_at=world.now - timedelta(minutes=5))
    person = newcomer()
    person.looks_for_the_job("Scheduled")
    person.reads("No dispatcher lives, so what is due does not become ready.", "--only-work")


def test_who_leads_gets_nowhere(newcomer, world):
    world.process()
    Leadership.objects.update(progress_at=world.now - timedelta(minutes=10))
    world.scheduled(scheduled_at=world.now - timedelta(minutes=5))
    person = newcomer()
    person.looks_for_the_job("Scheduled")
    person.reads("led as dispatcher last, and showed progress at", "Look at its log")


def test_its_task_cannot_be_imported(newcomer, world):
    world.process()
    world.ready(task_path="tests.site.tasks.add_nothing")
    person = newcomer()
    person.follows("Ready")
    person.follows("add_nothing")
    person.reads("its task cannot be imported", "Deploy the code that has the task")


def test_the_clocks_differ(newcomer, world, monkeypatch):
    class Ahead(datetime):
        """The clock of this machine, an hour before that of the database."""

        @classmethod
        def now(cls, tz=None):
            return datetime.now(UTC) + timedelta(hours=1)

    world.process()
    world.scheduled(scheduled_at=world.now + timedelta(minutes=10))
    monkeypatch.setattr(explain, "datetime", Ahead)
    person = newcomer()
    person.looks_for_the_job("Scheduled")
    person.reads("By the clock of this machine that time has come", "keep time (NTP)")


def test_it_failed(newcomer, world):
    world.process()
    world.failed()
    person = newcomer()
    person.follows("Failed")
    person.follows("ValueError")
    person.follows("add")
    person.reads("Its last attempt failed with builtins.ValueError", "Mend what is wrong and retry")


def test_its_process_is_lost(newcomer, world):
    world.claimed(world.process(live=False))
    person = newcomer()
    person.looks_for_the_job("Running")
    person.reads("The process that claimed it", "gives no sign of life", "recovers it after")


def test_it_runs_and_nothing_hinders_it(newcomer, world):
    world.claimed(world.process())
    person = newcomer()
    person.looks_for_the_job("Running")
    assert "It runs since" not in person.text
