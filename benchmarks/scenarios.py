"""The scenarios S1 to S8: what is done in one run, and which figures come out.

`README.md` says how each is measured and what it leaves out. A scenario is a function of one run
and of the sizes; it returns figures by the keys of its metrics.
"""

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.contenders import Contender
from benchmarks.cpu import CpuTimes, spent_between
from benchmarks.deadline import Deadline
from benchmarks.figures import Figures, Metric, percentile
from benchmarks.recorder import Record
from benchmarks.workbench import Producer, Run, Worker

__all__ = ["FULL", "QUICK", "SCENARIOS", "Scenario", "Sizes", "WrongOutcome"]

_DRAIN_SECONDS = 300
# PostgreSQL publishes what a backend has counted up to 10 s later (PGSTAT_IDLE_INTERVAL), and the
# warm-up must not be counted as idling.
_SETTLE_SECONDS = 11
# A poll of the remaining jobs costs the server about a millisecond.
_POLL_PAUSE_SECONDS = 0.025
# About as long as the shorter pauses of S4.
_FLOOR_PAUSE_SECONDS = 0.05
# How the worker's queues are named in S7, where all jobs are in the queue `default`.
_SELECTORS = {"any": "*", "named": "default", "prefix": "def*"}
_PAUSED_QUEUE = "paused"
# Draining is measured from here on, so that the start of the process is not.
_STARTED_SHARE = 0.05


class WrongOutcome(Exception):
    """A contender lost or failed jobs, so that its figures mean nothing."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything one run does."""

    enqueue_jobs: int
    bulk_jobs: int
    drain_share: float
    """Of the contender's own `drain_jobs`."""
    pickup_jobs: int
    settle_seconds: float
    idle_seconds: float
    steady_rate: int
    """Jobs per second."""
    steady_seconds: int
    backlog_jobs: tuple[int, int]
    """The small and the large number of ready jobs of S7."""
    backlog_drain_jobs: int
    """How many of them are drained."""
    sleeping_jobs: int


FULL = Sizes(
    enqueue_jobs=2_000,
    bulk_jobs=10_000,
    drain_share=1.0,
    pickup_jobs=150,
    settle_seconds=_SETTLE_SECONDS,
    idle_seconds=20,
    steady_rate=200,
    steady_seconds=10,
    backlog_jobs=(1_000, 1_000_000),
    backlog_drain_jobs=5_000,
    sleeping_jobs=1_000,
)
QUICK = Sizes(
    enqueue_jobs=300,
    bulk_jobs=2_000,
    drain_share=0.25,
    pickup_jobs=20,
    settle_seconds=_SETTLE_SECONDS,
    idle_seconds=5,
    steady_rate=200,
    steady_seconds=2,
    backlog_jobs=(1_000, 20_000),
    backlog_drain_jobs=1_000,
    sleeping_jobs=1_000,
)


@dataclass(frozen=True)
class Scenario:
    """One thing that is measured."""

    name: str
    """As on the command line."""
    metrics: tuple[Metric, ...]
    """The rows it gives."""
    measure: Callable[[Run, Sizes], Figures]
    """One run."""
    for_everyone: bool = True
    """Otherwise only for contenders that name it in `extra_scenarios`."""
    only_on_request: bool = False
    """Left out unless `--only` names it."""
    rows_of: str = ""
    """The scenario it belongs to on the command line, when that is not its own name."""

    def suits(self, contender: Contender) -> bool:
        """Whether *contender* can run it."""
        if not self.for_everyone:
            return self.name in contender.extra_scenarios
        return contender.scenarios is None or self.name in contender.scenarios


def enqueue_one_by_one(run: Run, sizes: Sizes) -> Figures:
    """S1: enqueue one job after the other from one thread."""
    producer = run.start_producer()
    producer.burst("noop", 0)  # the warm-up alone
    before = producer.cpu()
    seconds = producer.burst("noop", sizes.enqueue_jobs)
    after = producer.cpu()
    return {
        "S1.rate": sizes.enqueue_jobs / seconds,
        "S1.cpu": _milliseconds_each(before, after, sizes.enqueue_jobs),
        "S1.floor": 1 / run.postgres.floor()["insert"],
    }


def enqueue_bulk(run: Run, sizes: Sizes) -> Figures:
    """S2: enqueue many jobs in one call."""
    seconds = run.start_producer().bulk("noop", sizes.bulk_jobs, warm_up=10)
    return {"S2.rate": sizes.bulk_jobs / seconds}


def drain(run: Run, sizes: Sizes) -> Figures:
    """S3: start a worker on a full queue and let it empty it."""
    jobs = int(run.contender.drain_jobs * sizes.drain_share)
    if not run.contender.remaining:
        return _drain_by_records(run, jobs)
    run.start_producer().bulk("noop", jobs)
    # Autovacuum would analyse a table that grew like this within a minute.
    run.postgres.execute("ANALYZE")
    deadline = Deadline.after(_DRAIN_SECONDS, f"{jobs} jobs to be finished")
    with run.worker() as worker:
        start = _poll_until(run, worker, jobs * (1 - _STARTED_SHARE), deadline)
        end = _poll_until(run, worker, 0, deadline)
        # Before the worker stops, which may finish what only seemed to be finished.
        _expect_succeeded(run, jobs)
    drained = start.remaining - end.remaining
    return {
        "S3.rate": drained / (end.at - start.at),
        "S3.worker_cpu": _milliseconds_each(start.worker_cpu, end.worker_cpu, drained),
        "S3.server_cpu": _milliseconds_each(start.server_cpu, end.server_cpu, drained),
    }


def _drain_by_records(run: Run, jobs: int) -> Figures:
    """S3 where no table tells what is left: the tasks say that they ran."""
    run.start_producer().bulk("record", jobs)
    deadline = Deadline.after(_DRAIN_SECONDS, f"{jobs} jobs to be finished")
    with run.worker() as worker:
        began = run.recorder.collect(
            int(jobs * _STARTED_SHARE), deadline, check=worker.check_running
        )
        before = worker.cpu()
        rest = run.recorder.collect(jobs - len(began), deadline, check=worker.check_running)
        after = worker.cpu()
    first = max(record.finished_at for record in began)
    last = max(record.finished_at for record in rest)
    return {
        "S3.rate": len(rest) / (last - first),
        "S3.worker_cpu": _milliseconds_each(before, after, len(rest)),
    }


def pickup(run: Run, sizes: Sizes) -> Figures:
    """S4: how soon after `enqueue` an idle worker process starts a job."""
    producer = run.start_producer()
    with run.worker() as worker:
        run.wait_until_ready(producer, worker)
        figures = _pickup_figures(run, producer, worker, sizes, prefix="S4")
    floor = run.postgres.floor(pause=_FLOOR_PAUSE_SECONDS)
    return {
        **figures,
        "S4.floor_select": 1000 * floor["select"],
        "S4.floor_insert": 1000 * floor["insert"],
    }


def pickup_in_process(run: Run, sizes: Sizes) -> Figures:
    """S4 with the workers inside the enqueuing process."""
    producer = run.start_producer()
    with producer.runtime():
        run.wait_until_ready(producer, producer)
        return _pickup_figures(run, producer, producer, sizes, prefix="S4i")


def idle(run: Run, sizes: Sizes) -> Figures:
    """S5: what a worker without work costs."""
    producer = run.start_producer()
    with run.worker() as worker:
        run.wait_until_ready(producer, worker)
        producer.stop()  # so that no statement of its own is counted
        time.sleep(sizes.settle_seconds)
        counters_before, cpu_before = run.postgres.counters(run.database), worker.cpu()
        time.sleep(sizes.idle_seconds)
        counters, cpu = run.postgres.counters(run.database), worker.cpu()
        worker.check_running()
    cpu_seconds = spent_between(cpu_before, cpu)
    return {
        "S5.transactions": (counters["transactions"] - counters_before["transactions"])
        / sizes.idle_seconds,
        "S5.connections": float(counters["sessions"] - counters_before["sessions"]),
        "S5.cpu": None if cpu_seconds is None else 100 * cpu_seconds / sizes.idle_seconds,
    }


def steady(run: Run, sizes: Sizes) -> Figures:
    """S6: from enqueue to the committed end of a job, at a steady rate."""
    jobs = sizes.steady_rate * sizes.steady_seconds
    offsets = [index / sizes.steady_rate for index in range(jobs)]
    run.postgres.execute(run.contender.finished_trigger)
    producer = run.start_producer()
    with run.worker() as worker:
        run.wait_until_ready(producer, worker)
        warm_up = offsets[: sizes.steady_rate]
        producer.paced("noop", warm_up)
        _poll_until(run, worker, 0, Deadline.after(_DRAIN_SECONDS, "the warm-up jobs to finish"))
        # Only now, so that the warm-up is not reported.
        run.postgres.listen_for_finished()
        run.postgres.begin_watching_finished(jobs, seconds=sizes.steady_seconds + 30)
        calls = producer.paced("noop", offsets)
        seen = run.postgres.end_watching_finished(seconds=60)
    _expect(len(seen) == jobs, f"{len(seen)} of {jobs} jobs were seen to be finished")
    latencies = [seen[job_id] - called_at for job_id, called_at, _ in calls]
    return _percentiles("S6", latencies)


def backlog(run: Run, sizes: Sizes) -> Figures:
    """S7: whether a large backlog slows the claims down, for each selector, with a queue paused or not."""
    small, large = sizes.backlog_jobs
    figures: Figures = {}
    for size, ready in (("small", small), ("large", large)):
        figures |= _claim_rates(run, ready, drained=sizes.backlog_drain_jobs, size=size)
    if run.contender.pause_queue:
        run.pause_queue(_PAUSED_QUEUE)
        # The backlog is large by now; it is emptied for the small one.
        run.postgres.execute("TRUNCATE dj_queue_ready_executions")
        for size, ready in (("paused_small", small), ("paused_large", large)):
            figures |= _claim_rates(run, ready, drained=sizes.backlog_drain_jobs, size=size)
    for case in (f"S7.{name}_{size}" for size in ("", "paused_") for name in _SELECTORS):
        for kind in ("", "_cpu"):
            of_small = figures.get(f"{case}small{kind}")
            of_large = figures.get(f"{case}large{kind}")
            if of_small and of_large:
                figures[f"{case}ratio{kind}"] = of_large / of_small
    return figures


def sleeping(run: Run, sizes: Sizes) -> Figures:
    """S8: many asynchronous tasks that wait 0.1 s each."""
    jobs = sizes.sleeping_jobs
    run.start_producer().bulk("sleep", jobs)
    run.postgres.execute("ANALYZE")
    with run.worker() as worker:
        deadline = Deadline.after(_DRAIN_SECONDS, f"{jobs} sleeping jobs")
        records = run.recorder.collect(jobs, deadline, check=worker.check_running)
        _poll_until(run, worker, 0, deadline)
        _expect_succeeded(run, jobs)
    began = min(record.started_at for record in records)
    return {"S8.seconds": max(record.finished_at for record in records) - began}


_BACKLOG_METRICS = tuple(
    Metric(f"S7.{name}_{paused}{key}", f"S7 `{selector}`{with_paused}, {title}", is_rate, decimals)
    for paused, with_paused in (("", ""), ("paused_", ", a queue paused"))
    for name, selector in _SELECTORS.items()
    for key, title, is_rate, decimals in (
        ("small", "small backlog, /s", True, 0),
        ("large", "large backlog, /s", True, 0),
        ("ratio", "large : small", True, 2),
        ("ratio_cpu", "large : small, server CPU per job", False, 2),
    )
)

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "S1",
        (
            Metric("S1.rate", "S1 enqueue, one by one, /s", True),
            Metric("S1.cpu", "S1 CPU of the enqueuing process, ms", False, 3),
            Metric("S1.floor", "S1 floor: durable one-row INSERTs, /s", True),
        ),
        enqueue_one_by_one,
    ),
    Scenario("S2", (Metric("S2.rate", "S2 bulk enqueue, /s", True),), enqueue_bulk),
    Scenario(
        "S3",
        (
            Metric("S3.rate", "S3 drain, /s", True),
            Metric("S3.worker_cpu", "S3 worker CPU per job, ms", False, 3),
            Metric("S3.server_cpu", "S3 server CPU per job, ms", False, 3),
        ),
        drain,
    ),
    Scenario(
        "S4",
        (
            Metric("S4.p50", "S4 pickup from call, p50, ms", False, 2),
            Metric("S4.p99", "S4 pickup from call, p99, ms", False, 2),
            Metric("S4.returned_p50", "S4 pickup from return, p50, ms", False, 2),
            Metric("S4.returned_p99", "S4 pickup from return, p99, ms", False, 2),
            Metric("S4.floor_select", "S4 floor: SELECT after a rest, ms", False, 2),
            Metric("S4.floor_insert", "S4 floor: durable INSERT after a rest, ms", False, 2),
        ),
        pickup,
    ),
    Scenario(
        "S4-in-process",
        (
            Metric("S4i.p50", "S4 in process, from call, p50, ms", False, 2),
            Metric("S4i.p99", "S4 in process, from call, p99, ms", False, 2),
            Metric("S4i.returned_p50", "S4 in process, from return, p50, ms", False, 2),
            Metric("S4i.returned_p99", "S4 in process, from return, p99, ms", False, 2),
        ),
        pickup_in_process,
        for_everyone=False,
        rows_of="S4",
    ),
    Scenario(
        "S5",
        (
            Metric("S5.transactions", "S5 idle, transactions/s", False, 2),
            Metric("S5.cpu", "S5 idle, worker CPU %", False, 2),
            Metric("S5.connections", "S5 idle, new connections", False),
        ),
        idle,
    ),
    Scenario(
        "S6",
        (
            Metric("S6.p50", "S6 enqueue to commit, p50, ms", False, 2),
            Metric("S6.p99", "S6 enqueue to commit, p99, ms", False, 2),
        ),
        steady,
    ),
    Scenario(
        "S7",
        _BACKLOG_METRICS,
        backlog,
        for_everyone=False,
        only_on_request=True,
    ),
    Scenario(
        "S8", (Metric("S8.seconds", "S8 1,000 times asyncio.sleep(0.1), s", False, 2),), sleeping
    ),
)


@dataclass(frozen=True)
class _Progress:
    """What one poll saw."""

    at: float
    remaining: int
    worker_cpu: CpuTimes
    server_cpu: CpuTimes


def _poll_until(run: Run, worker: Worker, at_most: float, deadline: Deadline) -> _Progress:
    """The first poll that finds no more than *at_most* unfinished jobs."""
    while (remaining := run.remaining()) > at_most:
        deadline.remaining()
        worker.check_running()
        time.sleep(_POLL_PAUSE_SECONDS)
    # The moment first: reading the CPU times takes milliseconds.
    return _Progress(time.monotonic(), remaining, worker.cpu(), run.server_cpu())


def _milliseconds_each(before: CpuTimes, after: CpuTimes, jobs: int) -> float | None:
    seconds = spent_between(before, after)
    return None if seconds is None else 1000 * seconds / jobs


def _pickup_figures(
    run: Run, producer: Producer, workers: Worker | Producer, sizes: Sizes, *, prefix: str
) -> Figures:
    calls = producer.paced("record", list(_random_offsets(sizes.pickup_jobs)))
    deadline = Deadline.after(_DRAIN_SECONDS, "the last jobs to be picked up")
    started = {
        record.sequence: record.started_at
        for record in run.recorder.collect(sizes.pickup_jobs, deadline, check=workers.check_running)
    }
    from_call, from_return = [], []
    for sequence, (_, called_at, returned_at) in enumerate(calls):
        from_call.append(started[sequence] - called_at)
        from_return.append(started[sequence] - returned_at)
    return _percentiles(prefix, from_call) | _percentiles(f"{prefix}.returned", from_return)


def _random_offsets(count: int) -> Iterable[float]:
    """Moments with 50 to 250 ms in between, the same for every contender and round."""
    pauses = random.Random(4)  # random, so that no poll interval falls into step with them
    offset = 0.0
    for _ in range(count):
        offset += pauses.uniform(0.050, 0.250)
        yield offset


def _percentiles(prefix: str, seconds: list[float]) -> Figures:
    separator = "_" if "." in prefix else "."
    return {
        f"{prefix}{separator}p50": 1000 * percentile(seconds, 0.50),
        f"{prefix}{separator}p99": 1000 * percentile(seconds, 0.99),
    }


def _claim_rates(run: Run, ready: int, *, drained: int, size: str) -> Figures:
    """Jobs started per second above a backlog of *ready* jobs, and the server's CPU for each."""
    producer = run.start_producer()
    rates: Figures = {}
    for name, selector in _SELECTORS.items():
        # What is drained comes on top, so that the backlog never falls below *ready*; twice as
        # much, because the worker runs on until it is stopped.
        _fill(run, producer, ready + 2 * drained)
        run.postgres.execute("VACUUM ANALYZE")
        run.recorder.discard()
        before = run.server_cpu()
        with run.worker(DJ_QUEUE_BENCH_QUEUES=selector) as worker:
            deadline = Deadline.after(_DRAIN_SECONDS, f"{drained} jobs of a backlog")
            records = run.recorder.collect(drained, deadline, check=worker.check_running)
            after = run.server_cpu()
        rates[f"S7.{name}_{size}"] = _start_rate(records[:drained])
        rates[f"S7.{name}_{size}_cpu"] = _milliseconds_each(before, after, len(records))
    return rates


def _fill(run: Run, producer: Producer, jobs: int) -> None:
    """Enqueue until *jobs* are ready."""
    missing = jobs - run.remaining()
    while missing > 0:
        producer.bulk("record", min(missing, 10_000))
        missing -= 10_000


def _start_rate(records: list[Record]) -> float:
    """Starts per second, without the first tenth, in which the worker warms up."""
    starts = sorted(record.started_at for record in records)
    first = len(starts) // 10
    return (len(starts) - 1 - first) / (starts[-1] - starts[first])


def _expect_succeeded(run: Run, jobs: int) -> None:
    succeeded = run.succeeded()
    _expect(succeeded == jobs, f"{succeeded} of {jobs} jobs succeeded")


def _expect(condition: bool, message: str) -> None:
    """A contender that loses or fails jobs must not win by it."""
    if not condition:
        raise WrongOutcome(message)
