"""What spans say, made of the records they are about."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from django.db import connections

from dj_queue.config import BackendConfig
from dj_queue.store.records import ClaimedJob, NewJob
from dj_queue.telemetry import conventions as names
from dj_queue.tracing import Firing

type Value = str | int | float
type Attributes = dict[str, Value]

_DEFAULT_PORTS: Final = {"postgresql": 5432, "mysql": 3306}


def of_operation(config: BackendConfig, operation: str, kind: str | None) -> Attributes:
    """What is common to every span."""
    found: Attributes = {
        names.SYSTEM: names.SYSTEM_NAME,
        names.OPERATION: operation,
        names.BACKEND: config.alias,
        **_server(config.options.database_alias),
    }
    if kind is not None:
        found[names.OPERATION_TYPE] = kind
    return found


def of_new_job(job: NewJob) -> Attributes:
    """What a span says of the one job that is enqueued."""
    return {names.MESSAGE_ID: str(job.id), **of_common([job])}


def of_common(jobs: Sequence[NewJob]) -> Attributes:
    """What all of *jobs* have in common."""
    found: Attributes = {}
    for name, values in (
        (names.DESTINATION, {job.queue_name for job in jobs}),
        (names.TASK, {job.task_path for job in jobs}),
        (names.PRIORITY, {job.priority for job in jobs}),
        (names.SCHEDULED_AT, {job.run_after.isoformat() if job.run_after else "" for job in jobs}),
    ):
        if len(values) == 1 and (value := values.pop()) != "":
            found[name] = value
    return found


def of_attempt(worker_name: str, job: ClaimedJob) -> Attributes:
    """What a span says of an attempt when it begins."""
    return {
        names.DESTINATION: job.queue_name,
        names.MESSAGE_ID: str(job.id),
        names.CLIENT_ID: worker_name,
        names.TASK: job.task_path,
        names.FUNCTION: job.task_path,
        names.PRIORITY: job.priority,
        names.ATTEMPT: len(job.worker_ids or ()) + 1,
    }


def of_firing(firing: Firing) -> Attributes:
    """What the span of a recurring task's enqueue says besides."""
    return {
        names.RECURRING_KEY: firing.key,
        names.RECURRING_SCHEDULED_AT: firing.scheduled_at.isoformat(),
    }


def span_name(config: BackendConfig, operation: str, queue: object, task: object) -> str:
    """*operation* and what it is about, as far as that is one thing."""
    about = queue if config.options.telemetry.span_name == "queue" else task
    return operation if about is None else f"{operation} {about}"


def only[T](values: Iterable[T]) -> T | None:
    """The one value that all of *values* are; None when there are several."""
    found = set(values)
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=32)
def _server(database: str) -> Attributes:
    """Where the database's server is, if it is reached by a network."""
    connection = connections[database]
    settings = connection.settings_dict
    host = str(settings.get("HOST") or "")
    if not host or host.startswith("/"):
        return {}
    port = settings.get("PORT") or _DEFAULT_PORTS.get(connection.vendor)
    return {names.SERVER_ADDRESS: host, **({names.SERVER_PORT: int(port)} if port else {})}
