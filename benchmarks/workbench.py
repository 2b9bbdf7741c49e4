"""One contender, installed and migrated, and a fresh database for every run of a scenario.

A run gets a copy of the migrated database, so no run pays for the dead rows of the one before, and
all start equal.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.contenders import Contender
from benchmarks.contenders.base import Command
from benchmarks.cpu import CpuTimes, cpu_times, session_pids
from benchmarks.deadline import Deadline
from benchmarks.envs import prepare
from benchmarks.postgres import Postgres
from benchmarks.programs import LineProgram, Program, run_to_end
from benchmarks.recorder import Recorder

__all__ = ["Producer", "Run", "Workbench", "Worker"]

_PROJECTS = Path(__file__).parent / "projects"
_MIGRATE_SECONDS = 120
_START_SECONDS = 60
_ENQUEUE_SECONDS = 900
# Sequence of jobs that only wake something up; no scenario numbers its own jobs below 0.
_WARM_UP = -1


class Workbench:
    """Installs a contender once and hands out runs."""

    def __init__(self, contender: Contender, postgres: Postgres, folder: Path) -> None:
        self.contender = contender
        self._postgres = postgres
        self._folder = folder
        self._template = f"djq_bench_{contender.name.replace('-', '_')}"
        self._database = f"{self._template}_run"
        self.python: Path | None = None

    def install(self) -> None:
        """Create the environment and the migrated template database."""
        self.python = prepare(self.contender.name, self.contender.requirements)
        self._postgres.recreate(self._template)
        for command in self.contender.migrate:
            run_to_end(
                [self.python.with_name(command[0]), *command[1:]],
                cwd=_PROJECTS,
                environment=self._environment(self._template),
                log=self._log("migrate"),
                seconds=_MIGRATE_SECONDS,
            )

    @contextmanager
    def fresh_run(self, scenario: str) -> Iterator["Run"]:
        """A run of *scenario* on a fresh copy of the database; it is dropped at the end."""
        assert self.python is not None, "install first"
        self._postgres.recreate(self._database, template=self._template)
        try:
            with (
                Recorder(self._folder / f"{self.contender.name}.pipe") as recorder,
                self._run(scenario, recorder, self.python.parent) as run,
            ):
                yield run
        finally:
            self._postgres.drop(self._database)

    def remove(self) -> None:
        """Drop the template; the environment stays for the next time."""
        self._postgres.drop(self._template)

    def _run(self, scenario: str, recorder: Recorder, binaries: Path) -> "Run":
        return Run(
            contender=self.contender,
            scenario=scenario,
            postgres=self._postgres,
            database=self._database,
            recorder=recorder,
            binaries=binaries,
            environment={
                **self._environment(self._database),
                "DJ_QUEUE_BENCH_PIPE": str(recorder.path),
            },
            log=self._log(scenario),
        )

    def _environment(self, database: str) -> dict[str, str]:
        url = self._postgres.url(database)
        return {
            "DJ_QUEUE_BENCH_DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "django_site.settings",
            "PGDSN": url,
            "PYTHONPATH": str(_PROJECTS),
            # Unbuffered, so that a log is complete when a process is killed.
            "PYTHONUNBUFFERED": "1",
            **self.contender.environment,
        }

    def _log(self, what: str) -> Path:
        return self._folder / f"{self.contender.name}-{what}.log"


class Producer:
    """Talks to the enqueuing process of a contender."""

    def __init__(self, program: LineProgram) -> None:
        self._program = program

    def check_running(self) -> None:
        """Raise when it has ended."""
        self._program.check_running()

    def stop(self) -> None:
        """End the process; the context of the run does so as well."""
        self._program.stop()

    def cpu(self) -> CpuTimes:
        """CPU time of the process."""
        return cpu_times(session_pids(self._program.pid))

    def burst(self, kind: str, count: int) -> float:
        """Seconds that *count* enqueues took, one after the other."""
        return float(self._ask("burst", kind=kind, count=count)["seconds"])

    def bulk(self, kind: str, count: int, *, warm_up: int = 0) -> float:
        """Seconds that the bulk enqueue of *count* took, after one of *warm_up*."""
        return float(self._ask("bulk", kind=kind, count=count, warm_up=warm_up)["seconds"])

    def paced(
        self, kind: str, offsets: list[float], *, first: int = 0
    ) -> list[tuple[str, float, float]]:
        """Id, moment of the call and of the return for an enqueue at each of *offsets* seconds."""
        answer = self._ask("paced", kind=kind, offsets=offsets, first=first)
        return [(job_id, called_at, returned_at) for job_id, called_at, returned_at in answer]

    def wake(self) -> None:
        """Enqueue one job that records its start."""
        self.paced("record", [0.0], first=_WARM_UP)

    @contextmanager
    def runtime(self) -> Iterator[None]:
        """Run the workers inside the enqueuing process."""
        self._ask("start_runtime")
        try:
            yield
        finally:
            self._ask("stop_runtime")

    def _ask(self, verb: str, **arguments: object) -> Any:
        self._program.send({"do": verb, **arguments})
        return self._program.receive(Deadline.after(_ENQUEUE_SECONDS, f"the producer to {verb}"))


class Worker:
    """The worker process of a contender."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def check_running(self) -> None:
        """Raise when it has ended."""
        self._program.check_running()

    def cpu(self) -> CpuTimes:
        """CPU time of the process and its children."""
        return cpu_times(session_pids(self._program.pid))


class Run:
    """One run of one scenario: a fresh database; leaving the context stops what was started."""

    def __init__(
        self,
        *,
        contender: Contender,
        scenario: str,
        postgres: Postgres,
        database: str,
        recorder: Recorder,
        binaries: Path,
        environment: dict[str, str],
        log: Path,
    ) -> None:
        self.contender = contender
        self.scenario = scenario
        self.postgres = postgres
        self.database = database
        self.recorder = recorder
        self._binaries = binaries
        self._environment = environment
        self._log = log
        self._started = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._started.close()

    def start_producer(self) -> Producer:
        """Start the enqueuing process."""
        return Producer(self._started.enter_context(self.start(self.contender.producer)))

    def start(self, command: Command) -> LineProgram:
        """Start a program of the contender that is talked to; a context manager that ends it."""
        return LineProgram(
            self._command(command),
            cwd=_PROJECTS,
            environment={**self._environment, **self._tuning()},
            log=self._log,
        )

    @contextmanager
    def worker(self, **environment: str) -> Iterator[Worker]:
        """Start the worker process with *environment* on top of its tuning; stop it at the end."""
        with Program(
            self._command(self.contender.worker),
            cwd=_PROJECTS,
            environment={**self._environment, **self._tuning(), **environment},
            log=self._log,
        ) as program:
            yield Worker(program)

    def wait_until_ready(self, producer: Producer, workers: "Worker | Producer") -> None:
        """Return when *workers* have run a job: they are up, connected and warm."""
        producer.wake()
        deadline = Deadline.after(_START_SECONDS, "the worker's first job")
        self.recorder.collect(1, deadline, check=workers.check_running)

    def pause_queue(self, name: str) -> None:
        """Have no further jobs of a queue claimed; only for contenders that have a command for it."""
        run_to_end(
            self._command([*self.contender.pause_queue, name]),
            cwd=_PROJECTS,
            environment=self._environment,
            log=self._log,
            seconds=_MIGRATE_SECONDS,
        )

    def remaining(self) -> int:
        """Jobs that are not finished."""
        return int(self.postgres.value(self.contender.remaining))

    def succeeded(self) -> int:
        """Jobs that ended well."""
        return int(self.postgres.value(self.contender.succeeded))

    def server_cpu(self) -> CpuTimes:
        """CPU time of PostgreSQL's backends for this database."""
        return cpu_times(self.postgres.backends(self.database))

    def _command(self, command: Command) -> list[str | Path]:
        return [self._binaries / command[0], *command[1:]]

    def _tuning(self) -> dict[str, str]:
        tuning = self.contender.worker_environment
        return {**tuning.get("*", {}), **tuning.get(self.scenario, {})}
