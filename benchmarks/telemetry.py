"""What telemetry costs an enqueue where no OpenTelemetry SDK is installed: `python -m benchmarks.telemetry`.

On PostgreSQL, in a database of its own. One process enqueues with telemetry as it is, and as if it had never
been switched on, in turns, one job at a time. What counts is CPU time of its thread, of which the median of
each round is taken.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contenders import CONTENDERS
from benchmarks.deadline import Deadline
from benchmarks.envs import prepare
from benchmarks.postgres import Postgres
from benchmarks.programs import LineProgram
from benchmarks.workbench import Workbench

_SECONDS = 1800


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1000, help="in each round, of both kinds")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="dj-queue-bench-") as name:
        folder = Path(name)
        observer = prepare("observer", ("psycopg[binary]",))
        with Postgres(observer, folder / "observer.log") as postgres:
            bench = Workbench(CONTENDERS["ours"], postgres, folder)
            bench.install()
            try:
                with (
                    bench.fresh_run("telemetry") as run,
                    run.start(("python", "-m", "django_site.telemetry_probe")) as probe,
                ):
                    print(_told(_measured(probe, given.rounds, given.jobs)))
            finally:
                bench.remove()


def _measured(probe: LineProgram, rounds: int, jobs: int) -> list[tuple[float, float]]:
    probe.send({"do": "measure", "rounds": rounds, "jobs": jobs})
    answer = probe.receive(Deadline.after(_SECONDS, "the figures"))
    if answer["sdk"]:
        raise RuntimeError("an OpenTelemetry SDK is installed: this measures what it costs without")
    return [(with_it, without) for with_it, without in answer["rounds"]]


def _told(rounds: Sequence[tuple[float, float]]) -> str:
    with_it, without = (statistics.median(each) for each in zip(*rounds, strict=True))
    differences = [one - other for one, other in rounds]
    difference = statistics.median(differences)
    return (
        f"CPU time of the enqueuing thread for one job, {len(rounds)} rounds, microseconds\n"
        f"with telemetry  {with_it:8.2f}\n"
        f"without         {without:8.2f}\n"
        f"difference      {difference:8.2f} ({min(differences):.2f} to {max(differences):.2f}), "
        f"{difference / without:.2%}"
    )


if __name__ == "__main__":
    main()
