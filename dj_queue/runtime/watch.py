"""What goes with every attempt of a job, wherever it runs: the job is the current one, and is traced."""

from collections.abc import Callable

from dj_queue import current, tracing
from dj_queue.config import BackendConfig
from dj_queue.store.records import ClaimedJob, Outcome


class Watch(current.RunningJob):
    """From its making to `end`, both in one thread or one asyncio task, *job* is the current job.

    One object, because each job makes one: this is what a job costs beside what it does.
    """

    __slots__ = ("_token", "_trace")

    def __init__(
        self,
        config: BackendConfig,
        worker_name: str,
        job: ClaimedJob,
        is_stopping: Callable[[], bool],
    ) -> None:
        self.backend = config.alias
        self.worker = worker_name
        self.job = job
        self.is_stopping = is_stopping
        self._token = current.running.set(self)
        self._trace = tracing.attempt(config, worker_name, job)

    def end(self, outcome: Outcome) -> Outcome:
        """The attempt ended with *outcome*, which is given back."""
        if self._trace is not None:
            self._trace.end(outcome)
        current.running.reset(self._token)
        return outcome
