"""What the orchestrator must know of a system to measure it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Command", "Contender"]

type Command = Sequence[str]
"""A program in the `bin` folder of the contender's environment, and its arguments."""


@dataclass(frozen=True)
class Contender:
    """A system under test: how to install, start and ask it, never how it works inside."""

    name: str
    """As on the command line and in the report."""
    distribution: str
    """The distribution whose version the report shows."""
    requirements: Sequence[str]
    """What its environment contains; every driver is the same release for all who use it."""
    settings: str
    """One line for the report: what "its best settings" are."""
    migrate: Sequence[Command]
    """Run in this order they make an empty database ready."""
    worker: Command
    """Starts one worker process that runs until SIGTERM."""
    producer: Command
    """Starts the enqueuing process, see `projects/common/producing.py`."""
    drain_jobs: int
    """How many jobs S3 drains: some seconds of work."""
    remaining: str = ""
    """SQL: the number of jobs that are not finished; cheap, because it is asked in a loop.

    Empty where jobs are not in PostgreSQL: the tasks themselves then say that they ran."""
    succeeded: str = ""
    """SQL: the number of jobs that ended well."""
    finished_trigger: str = ""
    """SQL from `postgres.finished_trigger`."""
    worker_environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Environment variables of the worker by scenario, where one scenario needs other settings."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of all its programs."""
    needs: str = ""
    """The URL of a server besides PostgreSQL, without which it is left out."""
    scenarios: frozenset[str] | None = None
    """Of those for everyone, the ones that it can run; None for all."""
    pause_queue: Command = ()
    """Pauses the queue that is named after it; empty where S7 is not measured with a paused queue."""
    extra_scenarios: frozenset[str] = frozenset()
    """Scenarios beyond those that every contender can run."""
