"""Claims of scripts: take ready jobs, run them or record what came of them.

A claim belongs to a process that is registered and gives signs of life, or everybody else would take its
jobs for lost. So a script's first claim registers the script (`dj_queue.runtime.scripts`), and its
end gives back what it has not begun.
"""

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, cast
from uuid import UUID

from django.utils.module_loading import import_string

from dj_queue.config import BackendConfig, backend_config
from dj_queue.ids import read_job_id
from dj_queue.models import Job, Process
from dj_queue.selectors import QueueSelection, parse_selectors
from dj_queue.store.records import Claim


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job that this script holds. What is asked of it that it does not know, `job` answers."""

    job: Job
    claimed_at: datetime
    """By the database's clock, aware."""
    worker_ids: list[str]
    """Names of the workers of all attempts, this one last."""
    process_id: int
    """The row of `Process` that the claim belongs to."""
    claim: Claim
    """The proof that the job is ours."""

    @property
    def id(self) -> UUID:
        """The job's id."""
        return self.job.id

    def __getattr__(self, name: str) -> Any:
        # Copying and unpickling ask before there is a job.
        if name.startswith("__") or name == "job":
            raise AttributeError(name)
        return getattr(self.job, name)


class Script(Protocol):
    """The registration of this process as a script; see `dj_queue.runtime.scripts`."""

    def claim(
        self, selection: QueueSelection, limit: int, process: Process | None, *, skips_locked: bool
    ) -> list[ClaimedJob]:
        """Claim up to *limit* jobs."""

    def execute(self, job_id: UUID) -> Job:
        """Run a claimed job, and record how it ended."""

    def complete(self, job_id: UUID, return_value: object) -> Job:
        """Record that a claimed job ended well."""

    def fail(self, job_id: UUID, error: BaseException, traceback_text: str) -> Job:
        """Record that a claimed job failed."""

    def fail_all_of(self, process_ids: Sequence[int], error: BaseException | None) -> list[Job]:
        """Record that all jobs that some processes have claimed failed."""

    def fail_orphans(self, older_than: timedelta) -> list[Job]:
        """Record that jobs failed whose claims belong to nobody."""

    def prune(self) -> list[str]:
        """Recover the processes that fell silent."""


def claim_ready_jobs(
    *,
    limit: int,
    queues: str | Iterable[str] | None = None,
    process: Process | None = None,
    use_skip_locked: bool | None = None,
    backend_alias: str = "default",
) -> list[ClaimedJob]:
    """Claim up to *limit* ready jobs of *queues* (selectors; None: all), best first; none for *limit* <= 0.

    What is claimed and neither executed, completed nor failed when this process ends is ready again.
    With *process* the claims belong to that row instead, and who made it keeps it alive. Commits at
    once: raises `TransactionManagementError` inside a transaction of the caller.
    """
    if limit <= 0:
        return []
    config = backend_config(backend_alias)
    skips_locked = config.options.use_skip_locked if use_skip_locked is None else use_skip_locked
    selection = parse_selectors(queues)
    return _script(config).claim(selection, limit, process, skips_locked=skips_locked)


def execute_claimed_job(job: object, *, backend_alias: str = "default") -> Job:
    """Run a job that this process has claimed, in this thread; the job as it is then, ended or failed.

    *job*: what `claim_ready_jobs` returned, a `Job` or its id. Raises `NotClaimed` when this process has
    not claimed it, or it was taken away meanwhile.
    """
    return _script(backend_config(backend_alias)).execute(read_job_id(job))


def complete_claimed_job(
    job: object, return_value: object = None, *, backend_alias: str = "default"
) -> Job:
    """Record that a claimed job ended well with *return_value*; the job. See `execute_claimed_job`."""
    return _script(backend_config(backend_alias)).complete(read_job_id(job), return_value)


def fail_claimed_job(
    job: object,
    error: BaseException,
    *,
    traceback_text: str = "",
    backend_alias: str = "default",
) -> Job:
    """Record that a claimed job failed with *error*; the job. See `execute_claimed_job`.

    *traceback_text* replaces the traceback of *error*.
    """
    return _script(backend_config(backend_alias)).fail(read_job_id(job), error, traceback_text)


def fail_claimed_jobs_for_process(
    process: Process | int, error: BaseException | None = None, *, backend_alias: str = "default"
) -> list[Job]:
    """Record that all jobs that *process* (or the one with that id) has claimed failed; those jobs.

    For a process that is known to be gone before the others notice. Should it live, what it records
    about these jobs later changes nothing. *error* is `ProcessExitError` by default.
    """
    process_id = process.pk if isinstance(process, Process) else process
    return _script(backend_config(backend_alias)).fail_all_of([process_id], error)


def fail_claimed_jobs_for_pid(
    pid: int,
    error: BaseException | None = None,
    *,
    hostname: str | None = None,
    backend_alias: str = "default",
) -> list[Job]:
    """As `fail_claimed_jobs_for_process`, for all that was registered by the process *pid* of a machine.

    *hostname* is this machine by default. Numbers are given again: be sure that it is dead.
    """
    config = backend_config(backend_alias)
    rows = Process.objects.using(config.options.database_alias).filter(
        backend_alias=backend_alias, pid=pid, hostname=hostname or socket.gethostname()[:100]
    )
    ids = list(rows.values_list("id", flat=True))
    return _script(config).fail_all_of(ids, error) if ids else []


def fail_orphaned_claimed_jobs(
    *, older_than: timedelta | None = None, backend_alias: str = "default"
) -> list[Job]:
    """Record that jobs failed whose claims belong to no process that is registered; those jobs.

    Every runtime does the same by itself, at the same age: *older_than* is the claims' age, by default
    `OPTIONS["process_alive_threshold"]`, in which a process that lives would have registered again.
    """
    config = backend_config(backend_alias)
    if older_than is None:
        older_than = timedelta(seconds=config.options.process_alive_threshold)
    return _script(config).fail_orphans(older_than)


def prune_stale_processes(*, backend_alias: str = "default") -> list[str]:
    """Take processes for lost that were silent for `process_alive_threshold`; the names of those.

    As every runtime does: what they had begun fails, or is tried again where `on_worker_lost` says so,
    what they had not is ready again, and their rows go.
    """
    return _script(backend_config(backend_alias)).prune()


def _script(config: BackendConfig) -> Script:
    # By its name: the runtime stands above, and is loaded only by those who claim.
    return cast("Script", import_string("dj_queue.runtime.scripts.script_of")(config))
