"""What happens to processes and their actors."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ActorStarted:
    """An actor's thread runs."""

    backend: str
    actor: str


@dataclass(frozen=True, slots=True)
class ActorStopped:
    """An actor's thread is about to end; *clean* is False when it gave up on something."""

    backend: str
    actor: str
    clean: bool


@dataclass(frozen=True, slots=True)
class ActorFailed:
    """A tick raised; the actor carries on after *retry_in*."""

    backend: str
    actor: str
    error: BaseException
    failures: int
    """How many ticks failed in a row, this one included."""
    retry_in: timedelta


@dataclass(frozen=True, slots=True)
class ActorRecovered:
    """The first tick that went well after *failures* that did not."""

    backend: str
    actor: str
    failures: int


@dataclass(frozen=True, slots=True)
class HookFailed:
    """A hook of the project raised; the others were called all the same."""

    backend: str
    hook: str
    """The event it was registered for."""
    error: BaseException


@dataclass(frozen=True, slots=True)
class SupervisorStarted:
    """A runtime began to start its actors in this process."""

    backend: str
    process: str
    actors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SupervisorStopped:
    """A runtime has stopped; *abandoned* jobs still ran when the time to stop was over."""

    backend: str
    process: str
    abandoned: int


@dataclass(frozen=True, slots=True)
class ProcessUsedUp:
    """A stand-alone process reached a limit of its worker; all jobs in it have ended and it stops."""

    backend: str
    process: str
    reason: str


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """In fork mode, a child process was started and says that it runs."""

    backend: str
    child: str
    pid: int


@dataclass(frozen=True, slots=True)
class ChildEnded:
    """In fork mode, a child process ended though nobody asked it to; another one is started."""

    backend: str
    child: str
    pid: int
    how: str
    """With which exit status, or by which signal."""
    lived: timedelta
    restart_in: timedelta


@dataclass(frozen=True, slots=True)
class ChildReplaced:
    """In fork mode, a child process was used up and ended; another one is started."""

    backend: str
    child: str
    pid: int


@dataclass(frozen=True, slots=True)
class ChildKilled:
    """In fork mode, a child process did not stop in time; its jobs are left to recovery."""

    backend: str
    child: str
    pid: int


@dataclass(frozen=True, slots=True)
class OutcomesDelayed:
    """Outcomes wait in memory because the database does not take them."""

    backend: str
    waiting: int
    error: BaseException


@dataclass(frozen=True, slots=True)
class TransactionLeakFound:
    """A task left a transaction open on *database*; it was rolled back."""

    backend: str
    job_id: UUID
    task_path: str
    database: str


@dataclass(frozen=True, slots=True)
class ReceiverExited:
    """A receiver of a task signal raised what is no `Exception`, such as `SystemExit`; it was ignored."""

    backend: str
    job_id: UUID
    error: BaseException


@dataclass(frozen=True, slots=True)
class ProcessRecovered:
    """What a lost process had claimed is settled: given back, requeued or failed."""

    backend: str
    process: str
    """The name of its supervisor; empty for claims of processes that nobody knows."""
    reason: str
    """The class of the error of the jobs that were lost."""
    released: int
    """Jobs that had not begun."""
    requeued: int
    failed: int


@dataclass(frozen=True, slots=True)
class JournalUnavailable:
    """This process cannot keep a journal: should it be killed, all its claims count as begun."""

    backend: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class ConnectionsScarce:
    """The database server has hardly room for the connections that this process may open."""

    backend: str
    needed: int
    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class ChoreFailed:
    """What an actor does beside its work failed; its work goes on."""

    backend: str
    actor: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class LeadershipGained:
    """A process of this host does the work of *role* from now on."""

    backend: str
    role: str
    process: str
    term: int
    """One more than that of the leader before."""


@dataclass(frozen=True, slots=True)
class LeadershipLost:
    """A process of this host does the work of *role* no longer: it gave up the lock or lost it."""

    backend: str
    role: str
    process: str
    term: int
    reason: str


@dataclass(frozen=True, slots=True)
class ListenerDeaf:
    """Notifications do not arrive on this connection (a transaction pooler?); polling goes on."""

    backend: str
    actor: str


@dataclass(frozen=True, slots=True)
class ListenerRestored:
    """The database wakes this actor again, after its connection was lost."""

    backend: str
    actor: str
