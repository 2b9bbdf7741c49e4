"""Workers moved by hand, listeners, counted statements, and a second database."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from copy import deepcopy
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, connections
from django.dispatch import Signal
from django.test.utils import CaptureQueriesContext

from dj_queue import events
from dj_queue.config import BACKEND_PATH
from dj_queue.models import FailedExecution, Job, ReadyExecution, ScheduledExecution
from dj_queue.store import store_for
from tests.backend.hand_worker import HandWorker


@pytest.fixture
def make_worker() -> Iterator[Callable[..., HandWorker]]:
    """Makes workers, whose connections are closed when the test ends."""
    with ExitStack() as workers:
        yield lambda **options: workers.enter_context(HandWorker(**options))


@pytest.fixture
def worker(make_worker) -> HandWorker:
    return make_worker()


@pytest.fixture
def use_tasks(settings) -> Callable[..., None]:
    """Sets `TASKS`: each keyword is an alias with its options; *queues* are those of every alias."""

    def use(*, queues: Any = None, **aliases: dict[str, Any]) -> None:
        settings.TASKS = {
            alias: {
                "BACKEND": BACKEND_PATH,
                "OPTIONS": options,
                **({} if queues is None else {"QUEUES": queues}),
            }
            for alias, options in aliases.items()
        }

    return use


@pytest.fixture
def heard() -> Iterator[Callable[[type], list[Any]]]:
    """Subscribes to an event; the list to which what is heard of it is added."""
    with ExitStack() as subscriptions:

        def listen(event_type: type) -> list[Any]:
            found: list[Any] = []
            subscriptions.callback(events.subscribe(event_type, found.append))
            return found

        yield listen


@pytest.fixture
def receive() -> Iterator[Callable[..., None]]:
    """Connects a receiver to a signal until the test ends."""
    with ExitStack() as connected:

        def connect(signal: Signal, receiver: Callable[..., Any]) -> None:
            signal.connect(receiver, weak=False)
            connected.callback(signal.disconnect, receiver)

        yield connect


@pytest.fixture
def count_statements() -> Callable[[], AbstractContextManager[CaptureQueriesContext]]:
    """Collects the statements of a block on the default connection."""
    connection.ensure_connection()
    return lambda: CaptureQueriesContext(connection)


@pytest.fixture
def make_ready_again() -> Callable[[Any], None]:
    """Puts a failed job back to ready, as a retry does."""

    def retry(job_id: Any) -> None:
        job = Job.objects.get(pk=job_id)
        FailedExecution.objects.filter(job=job).delete()
        ReadyExecution.objects.create(
            job=job, backend_alias=job.backend_alias, queue_name=job.queue_name
        )

    return retry


@pytest.fixture
def local_times(settings) -> Iterator[None]:
    """`USE_TZ = False`, with connections that know of it."""
    connection.close()
    settings.USE_TZ = False
    yield
    connection.close()


@pytest.fixture(scope="session")
def second_database(database) -> Iterator[str]:
    """The alias of another database on the same server, with the queue's tables."""
    alias = "queue"
    entry = deepcopy(connections["default"].settings_dict)
    suffix = ".queue" if connection.vendor == "sqlite" else "_queue"
    entry["NAME"] = entry["TEST"]["NAME"] = f"{entry['NAME']}{suffix}"
    settings.DATABASES[alias] = connections.settings[alias] = entry
    creation = connections[alias].creation
    creation.create_test_db(verbosity=0, autoclobber=True)
    yield alias
    creation.destroy_test_db(entry["NAME"], verbosity=0)
    del connections[alias]
    del settings.DATABASES[alias]
    connections.settings.pop(alias, None)
    store_for.cache_clear()


@pytest.fixture
def queue_database(second_database) -> Iterator[str]:
    """The alias of a second database, whose tables are empty again after the test."""
    yield second_database
    with connections[second_database].cursor() as cursor:
        for model in (ReadyExecution, ScheduledExecution, Job):
            cursor.execute(f"DELETE FROM {model._meta.db_table}")
