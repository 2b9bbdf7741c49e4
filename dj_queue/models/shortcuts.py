"""What can be done with jobs from their rows in a shell: shortcuts to `dj_queue.operations`.

The operations stand above the models, so they are found by name when one is called.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from dj_queue.exceptions import UndiscardableError

if TYPE_CHECKING:
    from uuid import UUID

    from dj_queue.models.job import Job


class Discardable:
    """Rows of a state whose jobs can be discarded."""

    @classmethod
    def discard_all_in_batches(
        cls, *, batch_size: int = 500, backend_alias: str = "default"
    ) -> int:
        """Delete the jobs of a backend that are in this state now, batch by batch; how many."""
        discard = _operation("discard", "discard_all")
        return cast("int", discard(_config(backend_alias), cls, batch_size=batch_size))


class Undiscardable:
    """Rows of a state whose jobs somebody holds."""

    @classmethod
    def discard_all_in_batches(
        cls, *, batch_size: int = 500, backend_alias: str = "default"
    ) -> int:
        """Raises `UndiscardableError`, always."""
        del batch_size, backend_alias
        raise UndiscardableError


class Retryable(Discardable):
    """Rows of jobs that failed."""

    if TYPE_CHECKING:
        job: Any
        job_id: UUID

    def retry(self) -> "Job":
        """Try the job again; the job. Raises `RetryRefused` when its policy would discard it now."""
        alias = self.job.backend_alias
        retried = _operation("jobs", "retry_failed_job")(self.job_id, backend_alias=alias)
        return cast("Job", retried)

    def discard(self) -> int:
        """Delete the job; 1, or 0 when it is not failed any more."""
        alias = self.job.backend_alias
        discarded = _operation("jobs", "discard_failed_job")(self.job_id, backend_alias=alias)
        return cast("int", discarded)

    @classmethod
    def retry_all(cls, queryset: Iterable[Any]) -> int:
        """Try the jobs of the rows in *queryset* again, a batch per transaction; how many were."""
        retry = _operation("retry", "retry_each")
        return cast(
            "int", retry([(row.job.backend_alias, row.job_id) for row in _with_jobs(queryset)])
        )


def _with_jobs(rows: Iterable[Any]) -> Iterable[Any]:
    # Of a queryset all jobs are fetched at once.
    return rows.select_related("job") if hasattr(rows, "select_related") else rows


def _operation(module: str, name: str) -> Any:
    return getattr(import_module(f"dj_queue.operations.{module}"), name)


def _config(backend_alias: str) -> Any:
    return import_module("dj_queue.config").backend_config(backend_alias)
