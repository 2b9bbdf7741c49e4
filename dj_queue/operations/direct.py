"""Straight into a free thread: a job that can start in this very process is written as already claimed.

The usual way takes two commits until a job starts: one that makes it ready, one that claims it. Where the
process that enqueues also runs jobs, has a free place for this one and knows of nothing that should go
before it, the first can say both. A job goes this way only alone and outside of a transaction: inside one
it must not start before the commit.
"""

from typing import Protocol

from dj_queue.states import Executor
from dj_queue.store.records import ClaimedJob


class Place(Protocol):
    """A free place in a runtime of this process, kept for one job."""

    process_id: int
    token: int

    def take(self, job: ClaimedJob) -> None:
        """Run *job*, which is claimed under `process_id` and `token`."""

    def give_up(self, *, in_doubt: bool = False) -> None:
        """The job was not written as claimed; *in_doubt* when nobody knows."""


class Host(Protocol):
    """A runtime of this process."""

    def reserve(
        self, database: str, backend_alias: str, queue_name: str, executor: Executor
    ) -> Place | None:
        """Keep a free place for a job of *queue_name*; None when there is none, or somebody is before it."""


_hosts: tuple[Host, ...] = ()


def offer(host: Host) -> None:
    """Let enqueues of this process ask *host* for places."""
    global _hosts
    _hosts = (*_hosts, host)


def withdraw(host: Host) -> None:
    """Undo `offer`."""
    global _hosts
    _hosts = tuple(known for known in _hosts if known is not host)


def is_offered() -> bool:
    """Whether any runtime of this process may have a place."""
    return bool(_hosts)


def reserve(database: str, backend_alias: str, queue_name: str, executor: Executor) -> Place | None:
    """A place in any runtime of this process, if one has it."""
    for host in _hosts:
        place = host.reserve(database, backend_alias, queue_name, executor)
        if place is not None:
            return place
    return None
