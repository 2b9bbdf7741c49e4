"""Why a job does not run: the gates that it has to pass, in the order in which it meets them.

The first closed one is the answer, with what opens it. A dozen small questions at most, none of which
costs more where there are more jobs. What is found is true of the moment: a job may run right after.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from dj_queue.config import BackendConfig, backend_config, configured_backend_aliases
from dj_queue.exceptions import TaskNotImportable
from dj_queue.models import (
    BlockedExecution,
    ClaimedExecution,
    FailedExecution,
    Job,
    Pause,
    ReadyExecution,
    ScheduledExecution,
    Semaphore,
    SemaphoreHolder,
)
from dj_queue.reads.health import LEADER_SILENCE
from dj_queue.reads.rate_waits import beyond_rate
from dj_queue.reads.stats import ProcessStats, leaders, processes
from dj_queue.reads.tasks import import_task
from dj_queue.selectors import parse_selectors
from dj_queue.states import LANES, Executor
from dj_queue.store import store_for
from dj_queue.store.shared import from_column

AHEAD = 10_000
"""Up to so many jobs that are before this one are counted."""

# Clocks that differ by more than this are worth a word.
_SKEW = timedelta(seconds=2)

# A job whose time came longer ago than this should have been made ready.
_LATE = timedelta(seconds=10)

_NAMED = 5

_START_ONE = (
    "Start a process that has one: `manage.py dj_queue`, or a web server with dj_queue embedded."
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What keeps a job from running now."""

    job_id: str
    code: str
    """Which gate it is; stable, for programs."""
    sentence: str
    remedy: str
    """What would open it; empty where nothing needs to be done."""
    state: str | None = None
    """The job's state; None where it has none."""
    queue_name: str | None = None
    details: tuple[tuple[str, Any], ...] = ()
    """What the sentence was made of: text, numbers, lists."""

    def as_dict(self) -> dict[str, Any]:
        """As plain data, fit for JSON."""
        return {**asdict(self), "details": dict(self.details)}


def explain(config: BackendConfig, job_id: UUID) -> Explanation:
    """The first closed gate of the job *job_id*, which is looked for on the database of *config*.

    The job may be of another backend.
    """
    job = Job.objects.using(config.options.database_alias).filter(id=job_id).first()
    if job is None:
        return Explanation(
            str(job_id),
            "unknown",
            f"There is no job with this id on the database {config.options.database_alias!r}.",
            "Is it the right backend? The job may have ended and been cleared since (see "
            "OPTIONS['clear_finished_jobs_after'] and ['preserve_finished_jobs']), been discarded, or its "
            "transaction was rolled back or is still open.",
        )
    if job.backend_alias in configured_backend_aliases():
        config = backend_config(job.backend_alias)
    return _Walk(config, job).first_closed()


class _Walk:
    """The way of one job past the gates of its state."""

    def __init__(self, config: BackendConfig, job: Job) -> None:
        self.config = config
        self.database = config.options.database_alias
        self.job = job
        self.now = store_for(self.database).now()
        self.host_now = datetime.now(UTC)
        self._processes: list[ProcessStats] | None = None

    def first_closed(self) -> Explanation:
        """The answer."""
        if self.job.backend_alias != self.config.alias:
            return self._closed(
                "unknown_backend",
                f"It belongs to backend {self.job.backend_alias!r}, which is not in TASKS here.",
                f"Run workers whose settings have TASKS[{self.job.backend_alias!r}].",
            )
        if self.job.finished_at is not None:
            ended = f"It ended well at {_told(self.job.finished_at)}."
            return self._closed("finished", ended, "", state="finished")
        states: tuple[tuple[Any, Callable[[Any], Explanation]], ...] = (
            (ReadyExecution, self._ready),
            (ClaimedExecution, self._claimed),
            (ScheduledExecution, self._scheduled),
            (BlockedExecution, self._blocked),
            (FailedExecution, self._failed),
        )
        for model, look in states:
            row = model.objects.using(self.database).filter(job_id=self.job.id).first()
            if row is not None:
                return look(row)
        return self._closed(
            "no_state",
            "The job is in no state at all, so nobody will run it; it may be on its way between two.",
            "Ask again. If it stays so: `manage.py dj_queue_health --deep` finds such jobs, and the job can "
            "be enqueued again.",
        )

    def _failed(self, row: FailedExecution) -> Explanation:
        said = f"Its last attempt failed with {row.exception_class} at {_told(row.created_at)}"
        if row.retry_at is None:
            return self._closed(
                "failed",
                f"{said}.",
                "Mend what is wrong and retry it: in the admin, or with dj_queue.api.retry_failed_job.",
                state="failed",
            )
        retry_at = _aware(row.retry_at)
        return self._unless_late(
            retry_at,
            state="failed",
            code="retry_later",
            sentence=f"{said}, and it is tried again at {_told(row.retry_at)}.",
        )

    def _scheduled(self, row: ScheduledExecution) -> Explanation:
        due = _aware(row.scheduled_at)
        seconds = (due - self.now).total_seconds()
        sentence = f"It is scheduled for {_told(due)}, in {seconds:.0f} s by the database's clock."
        if due > self.now and due <= self.host_now - _SKEW:
            return self._closed(
                "clock_differs",
                f"{sentence} By the clock of this machine that time has come: the two differ by "
                f"{(self.host_now - self.now).total_seconds():.0f} s, and the database's counts.",
                "Have both machines keep time (NTP).",
                state="scheduled",
                scheduled_at=due.isoformat(),
            )
        return self._unless_late(due, state="scheduled", code="scheduled", sentence=sentence)

    def _unless_late(self, due: datetime, *, state: str, code: str, sentence: str) -> Explanation:
        """Told by whoever makes due jobs ready: its time has not come, nobody does it, or it is near."""
        if due > self.now:
            return self._closed(code, sentence, "", state=state, due_at=due.isoformat())
        if (closed := self._without_dispatcher(state)) is not None:
            return closed
        if self.now - due <= _LATE:
            soon = "Its time has come: it is ready in a moment."
            return self._closed("due", soon, "", state=state)
        return self._closed(
            "dispatcher_behind",
            f"Its time came at {_told(due)}, and the dispatcher has not got to it yet.",
            "If that goes on: has the log of the leading process errors? A larger "
            "OPTIONS['dispatchers'][n]['batch_size'] helps with many jobs due at once.",
            state=state,
        )

    def _blocked(self, row: BlockedExecution) -> Explanation:
        key = row.concurrency_key
        holders = SemaphoreHolder.in_use(self.database).filter(key=key)
        held = holders.count()
        semaphore = Semaphore.objects.using(self.database).filter(key=key).first()
        limit = semaphore.limit if semaphore is not None else self.job.concurrency_limit
        jobs = [str(job) for job in holders.values_list("job_id", flat=True)[:_NAMED] if job]
        details = {"concurrency_key": key, "limit": limit, "held": held, "held_by": jobs}
        if limit is not None and held < limit:
            return self._without_dispatcher("blocked") or self._closed(
                "slot_free",
                f"It waits for a slot of {key!r}, and {limit - held} of {limit} are free: it, or one before "
                "it, gets one in a moment.",
                "If that goes on, the dispatcher does not hand slots out: is concurrency_maintenance off?",
                state="blocked",
                **details,
            )
        if semaphore is not None and semaphore.period is not None:
            sentence, remedy = beyond_rate(semaphore, holders, held)
            details |= {"period": semaphore.period}
            return self._without_dispatcher("blocked") or self._closed(
                "rate_limited", sentence, remedy, state="blocked", **details
            )
        return self._closed(
            "blocked",
            f"It waits for a slot of {key!r}: {held} of {limit} are taken, by {', '.join(jobs) or 'hand'}.",
            "It goes on when one of those ends. A larger limit takes effect with the next job that is "
            "enqueued with it.",
            state="blocked",
            **details,
        )

    def _claimed(self, row: ClaimedExecution) -> Explanation:
        owner = next((each for each in self._known() if each.id == row.process_id), None)
        if owner is not None and owner.is_live:
            since = _told(row.started_at or row.created_at)
            return self._closed(
                "running", f"It runs since {since}, in {owner.name}.", "", state="claimed",
                process=owner.name,
            )  # fmt: skip
        seen = "is not registered" if owner is None else "gives no sign of life"
        name = "" if owner is None else f" ({owner.name})"
        return self._closed(
            "worker_lost",
            f"The process that claimed it{name} {seen}.",
            "Any living process of the backend recovers it after OPTIONS['process_alive_threshold'] "
            f"({self.config.options.process_alive_threshold:g} s). {_START_ONE}",
            state="claimed",
        )

    def _ready(self, row: ReadyExecution) -> Explanation:
        return (
            self._paused()
            or self._without_worker(row)
            or self._not_importable()
            or self._in_turn(row)
        )

    def _paused(self) -> Explanation | None:
        pause = (
            Pause.objects.using(self.database)
            .filter(backend_alias=self.config.alias, queue_name=self.job.queue_name)
            .first()
        )
        if pause is None:
            return None
        return self._closed(
            "paused",
            f"Its queue {self.job.queue_name!r} is paused since {_told(pause.created_at)}.",
            f"Resume it: `manage.py dj_queue_queues resume {self.job.queue_name}`, or in the admin.",
            state="ready",
        )

    def _without_worker(self, row: ReadyExecution) -> Explanation | None:
        name, live = self.job.queue_name, [each for each in self._known() if each.is_live]
        workers = [each for each in live if each.kind == "Worker"]
        if not workers:
            return self._closed(
                "no_worker",
                f"No worker of backend {self.config.alias!r} lives"
                + (f", though {len(live)} other part(s) of processes do." if live else "."),
                _START_ONE,
                state="ready",
            )
        serving = self._serving()
        if not serving:
            return self._closed(
                "queue_not_served",
                f"None of the {len(workers)} living worker(s) serves the queue {name!r}.",
                f"Add {name!r} to the 'queues' of a worker in TASKS[{self.config.alias!r}]['OPTIONS'].",
                state="ready",
                served=sorted({str(each.metadata.get("queues")) for each in workers}),
            )
        if not any(_can_run(each, row.executor) for each in serving):
            kind = "process" if row.executor == Executor.PROCESS else "thread"
            return self._closed(
                "executor_not_served",
                f"The workers of the queue {name!r} have no executor {kind!r}, which its task needs.",
                f"Add a worker for {name!r} with 'executor': {kind!r}.",
                state="ready",
            )
        return None

    def _not_importable(self) -> Explanation | None:
        try:
            import_task(self.job.task_path)
        except TaskNotImportable as error:
            return self._closed(
                "not_importable",
                f"Seen from this process, its task cannot be imported, so it would fail: {error}",
                "Deploy the code that has the task, or put a task of that path back. Workers may run other "
                "code than this process.",
                state="ready",
            )
        return None

    def _in_turn(self, row: ReadyExecution) -> Explanation:
        ahead = self._ahead(row)
        serving = [each for each in self._serving() if _can_run(each, row.executor)]
        room = sum(_room(each, row.executor) for each in serving)
        claims = ClaimedExecution.objects.using(self.database).filter(
            process_id__in=[each.id for each in serving]
        )
        taken = claims.count()
        place = (
            f"{ahead} jobs of its queue are" if ahead <= AHEAD else f"More than {AHEAD} jobs are"
        )
        place = "1 job of its queue is" if ahead == 1 else place
        details = {"ahead": min(ahead, AHEAD), "room": room, "taken": taken}
        if taken >= room:
            oldest = claims.order_by("id").values_list("job_id", flat=True)[:_NAMED]
            return self._closed(
                "workers_busy",
                f"Its workers are busy: they run {taken} jobs and have room for {room}. "
                f"{place} before it.",
                "It starts when others end. More threads or processes, or a queue of its own for jobs that "
                "take long, give it room sooner.",
                state="ready",
                **details,
                oldest=[str(job_id) for job_id in oldest],
            )
        return self._closed(
            "in_turn", f"It is about to run: {place} before it, and there is room.",
            "If it stays so, `manage.py dj_queue_health` tells whether the workers get on.",
            state="ready", **details,
        )  # fmt: skip

    def _ahead(self, row: ReadyExecution) -> int:
        """Jobs of the queue that are claimed before, of those for the same executor; at most one too many."""
        mine = ReadyExecution.objects.using(self.database).filter(
            backend_alias=self.config.alias,
            queue_name=self.job.queue_name,
            executor=row.executor,
        )
        above = mine.filter(priority__gt=row.priority)[: AHEAD + 1].count()
        if above > AHEAD:
            return above
        return above + mine.filter(priority=row.priority, id__lt=row.id)[: AHEAD + 1].count()

    def _without_dispatcher(self, state: str) -> Explanation | None:
        if not any(each.kind == "Dispatcher" and each.is_live for each in self._known()):
            return self._closed(
                "no_leader",
                "No dispatcher lives, so what is due does not become ready.",
                "Start a process that is not --only-work. " + _START_ONE,
                state=state,
            )
        found = [each for each in leaders(self.config) if each.role == "dispatcher"]
        if not found or self.now - found[0].progress_at <= LEADER_SILENCE:
            return None
        return self._closed(
            "leader_stuck",
            f"{found[0].process_name} led as dispatcher last, and showed progress at "
            f"{_told(found[0].progress_at)}.",
            "Look at its log; when that process ends, another one leads.",
            state=state,
        )

    def _known(self) -> list[ProcessStats]:
        if self._processes is None:
            self._processes = processes(self.config, self.now)
        return self._processes

    def _serving(self) -> Sequence[ProcessStats]:
        return [
            each
            for each in self._known()
            if each.is_live
            and each.kind == "Worker"
            and parse_selectors(str(each.metadata.get("queues") or "*").split(",")).matches(
                self.job.queue_name
            )
        ]

    def _closed(
        self, code: str, sentence: str, remedy: str, *, state: str | None = None, **details: Any
    ) -> Explanation:
        job = self.job
        return Explanation(
            str(job.id), code, sentence, remedy, state, job.queue_name, tuple(details.items())
        )


def _can_run(worker: ProcessStats, executor: int) -> bool:
    lanes = LANES.get(str(worker.metadata.get("executor")), LANES["thread"])
    return any(executor in lane for lane in lanes)


def _room(worker: ProcessStats, executor: int) -> int:
    lanes = LANES.get(str(worker.metadata.get("executor")), LANES["thread"])
    name = "async_concurrency" if executor in lanes.loop else "threads"
    return int(worker.metadata.get(name) or 1)


def _aware(moment: datetime) -> datetime:
    return cast("datetime", from_column(moment))


def _told(moment: datetime) -> str:
    return f"{_aware(moment):%F %T %Z}"
