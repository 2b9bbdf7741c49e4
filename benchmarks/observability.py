"""What the dashboard, stats and metrics cost with millions of rows, and what those of the reference cost.

    python -m benchmarks.observability [--finished 3000000] [--ready 500000] [--rounds 7] [--reference]

On PostgreSQL, in databases of its own (`djq_bench_…`), which are filled by SQL and dropped at the end. Every
address is asked for once, and then for so many rounds that are measured.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.contenders.base import Contender
from benchmarks.cpu import CpuTimes, cpu_times, spent_between
from benchmarks.deadline import Deadline
from benchmarks.envs import prepare
from benchmarks.postgres import Postgres
from benchmarks.programs import LineProgram, run_to_end

_PROJECTS = Path(__file__).parent / "projects"
_SECONDS = 1800
_PAGES = "/admin/dj_queue/dashboard/"
_STATES = ("all", "ready", "scheduled", "claimed", "blocked", "failed", "finished")
# Large numbers are kept for ten seconds, so most rounds find them; who is scraped every fifteen does not.
_FORGOTTEN = ", nothing kept"
# The end of last week's jobs, so that there is as much before it as after.
_FILTERS = {
    "queue": "state=ready&queue=queue-3",
    "task": "state=ready&task=shop.tasks.task_7",
    "task*": "state=all&task=shop.tasks.*",
    "a task that there is not": "state=finished&task=shop.tasks.none",
    "priority": "state=finished&priority=5",
    "since": "state=finished&since={yesterday}",
    "until": "state=all&until={yesterday}",
    "error": "state=failed&error=builtins.KeyError",
    "worker": "state=claimed&worker=worker-1@host:2:abc",
    "key": "state=blocked&key=account/7",
    "recurring": "state=finished&recurring=report_7",
}

type Answer = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill, ask, drop."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--finished", type=int, default=3_000_000)
    parser.add_argument("--ready", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--reference", action="store_true", help="dj-queue 0.14.2 from PyPI too")
    parser.add_argument("--slowest", action="store_true", help="show the slowest statement of each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    given = parser.parse_args(arguments)
    figures: dict[str, dict[str, Answer]] = {}
    with tempfile.TemporaryDirectory(prefix="dj-queue-bench-") as name, ExitStack() as opened:
        folder = Path(name)
        observer = prepare("observer", ("psycopg[binary]",))
        postgres = opened.enter_context(Postgres(observer, folder / "observer.log"))
        for contender in ("ours", "dj-queue") if given.reference else ("ours",):
            with _probe(CONTENDERS[contender], postgres, folder) as probe:
                figures[contender] = _measured(contender, probe, given)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


@contextmanager
def _probe(contender: Contender, postgres: Postgres, folder: Path) -> Iterator[LineProgram]:
    """A process of *contender* on an empty, migrated database."""
    # An environment of its own: the other benchmarks have no use for this.
    python = prepare(f"{contender.name}-pages", (*contender.requirements, "prometheus-client"))
    database = f"djq_bench_{contender.name.replace('-', '_')}_pages"
    environment = {
        "DJ_QUEUE_BENCH_DATABASE_URL": postgres.url(database),
        "DJANGO_SETTINGS_MODULE": "dashboard_site.settings",
        "PYTHONPATH": str(_PROJECTS),
    }
    log = folder / f"{contender.name}.log"
    postgres.recreate(database)
    try:
        run_to_end(
            [python, "-m", "django", "migrate", "-v", "0"],
            cwd=_PROJECTS,
            environment=environment,
            log=log,
            seconds=120,
        )
        command = [python, "-m", "dashboard_site.probe"]
        with LineProgram(command, cwd=_PROJECTS, environment=environment, log=log) as probe:
            yield probe
    finally:
        postgres.drop(database)


def _measured(contender: str, probe: LineProgram, given: argparse.Namespace) -> dict[str, Answer]:
    began = time.perf_counter()
    jobs = _ask(probe, do="fill", finished=given.finished, ready=given.ready)
    pids = _ask(probe, do="pids")
    print(
        f"\n{contender}: {given.finished:,} finished and {given.ready:,} ready jobs and the rest, "
        f"written in {time.perf_counter() - began:.0f} s\n"
    )
    print(
        f"{'':<34}{'statements':>10}{'SQL ms':>9}{'worst':>9}{'page ms':>9}"
        f"{'client CPU':>12}{'server CPU':>12}"
    )
    addresses = _ours(jobs) if contender == "ours" else _of_reference(jobs)
    found = {}
    for label, url in addresses.items():
        found[label] = _page(probe, label, url, pids, given)
    return found


def _page(
    probe: LineProgram, label: str, url: str, pids: Sequence[int], given: argparse.Namespace
) -> Answer:
    before = cpu_times(pids)
    answer = _ask(probe, do="ask", url=url, rounds=given.rounds, forgets=label.endswith(_FORGOTTEN))
    after = cpu_times(pids)
    # The first time, which is not measured, costs as well.
    cpu = [
        "-" if spent is None else f"{spent / (given.rounds + 1) * 1000:.0f} ms"
        for spent in (_spent(before, after, pid) for pid in pids)
    ]
    status = "" if answer["status"] == 200 else f"  answered {answer['status']}"
    print(
        f"{label:<34}{answer['statements']:>10}{answer['sql_ms']:>9.1f}{answer['worst_sql_ms']:>9.1f}"
        f"{answer['page_ms']:>9.1f}{cpu[0]:>12}{cpu[1]:>12}{status}",
        flush=True,
    )
    if given.slowest:
        print(f"    {answer['slowest_ms']:.1f} ms: {answer['slowest'][:300]}")
    return answer


def _spent(before: CpuTimes, after: CpuTimes, pid: int) -> float | None:
    """Seconds of CPU of one process; None where nothing is known of it."""
    if pid not in before or pid not in after:
        return None
    return spent_between({pid: before[pid]}, {pid: after[pid]})


def _ours(jobs: Mapping[str, str]) -> dict[str, str]:
    """Every page, by what it is called in the report."""
    yesterday = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - 86_400))
    filters = {name: query.format(yesterday=yesterday) for name, query in _FILTERS.items()}
    return {
        **{f"overview {span}": f"{_PAGES}?span={span}" for span in ("1h", "6h", "24h", "7d")},
        "queues": f"{_PAGES}queues/",
        **{f"queue, {state}": f"{_PAGES}queue/queue-3/?state={state}" for state in _STATES},
        "queue, 7d": f"{_PAGES}queue/queue-3/?span=7d",
        **{f"jobs, {state}": f"{_PAGES}jobs/?state={state}" for state in _STATES},
        **{f"jobs by {name}": f"{_PAGES}jobs/?{query}" for name, query in filters.items()},
        **{f"job, {state}": f"/admin/dj_queue/job/{key}/change/" for state, key in jobs.items()},
        "failures": f"{_PAGES}failures/",
        **{f"tasks {span}": f"{_PAGES}tasks/?span={span}" for span in ("1h", "6h", "24h", "7d")},
        **{
            name: f"{_PAGES}{name}/" for name in ("recurring", "processes", "limits", "diagnostics")
        },
        "table of failed jobs": "/admin/dj_queue/failedexecution/",
        "stats.json": "/dj_queue/stats.json",
        "metrics": "/dj_queue/metrics",
        f"overview 1h{_FORGOTTEN}": f"{_PAGES}?span=1h",
        f"stats.json{_FORGOTTEN}": "/dj_queue/stats.json",
        f"metrics{_FORGOTTEN}": "/dj_queue/metrics",
    }


def _of_reference(jobs: Mapping[str, str]) -> dict[str, str]:
    """The pages that it has."""
    return {
        "overview": _PAGES,
        "queue, ready": f"{_PAGES}queue/queue-3/",
        "jobs": "/admin/dj_queue/job/",
        "job, finished": f"/admin/dj_queue/job/{jobs['finished']}/change/",
        "job, ready": f"/admin/dj_queue/job/{jobs['ready']}/change/",
        "table of failed jobs": "/admin/dj_queue/failedexecution/",
        "processes": "/admin/dj_queue/process/",
        "limits": "/admin/dj_queue/semaphore/",
        "stats.json": "/dj_queue/stats.json",
        "metrics": "/dj_queue/metrics",
    }


def _ask(probe: LineProgram, **question: object) -> Any:
    probe.send(question)
    return probe.receive(Deadline.after(_SECONDS, f"an answer to {question}"))


if __name__ == "__main__":
    main()
