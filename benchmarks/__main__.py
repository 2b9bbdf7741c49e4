"""Compare dj_queue with its peers: `python -m benchmarks`."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contenders import CONTENDERS
from benchmarks.deadline import DeadlineExceeded
from benchmarks.envs import installed_versions, prepare
from benchmarks.postgres import Postgres, PostgresFailed
from benchmarks.programs import ProgramFailed
from benchmarks.report import Report
from benchmarks.scenarios import FULL, QUICK, SCENARIOS, Scenario, Sizes, WrongOutcome
from benchmarks.workbench import Workbench

# What one contender may do wrong without ending the comparison of the others.
_FAILURES = (
    DeadlineExceeded,
    PostgresFailed,
    ProgramFailed,
    WrongOutcome,
    subprocess.CalledProcessError,
    subprocess.TimeoutExpired,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison that the command line asks for; 1 when any run failed."""
    options = _options(arguments)
    # The processes lead sessions of their own: without this they would outlive a killed benchmark.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    scenarios = _chosen_scenarios(options.only)
    sizes = QUICK if options.quick else FULL
    rounds = options.rounds or (1 if options.quick else 3)
    report = Report(contenders=options.contenders)
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="dj-queue-bench-")))
        observer = prepare("observer", ("psycopg[binary]",))
        postgres = opened.enter_context(Postgres(observer, folder / "observer.log"))
        report.describe_machine(postgres.server(), os.cpu_count())
        benches = _installed(options.contenders, postgres, folder, report)
        try:
            for scenario in scenarios:
                _measure(scenario, benches, sizes, rounds, report)
        except KeyboardInterrupt:
            report.failures.append("interrupted; the table has what was measured before")
        finally:
            for bench in benches:
                bench.remove()
    print(report.text([metric for scenario in scenarios for metric in scenario.metrics]))
    if options.json:
        report.write_json(options.json)
    return 1 if report.failures else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", type=_words, metavar="S1,S3", help="scenarios; S7 only this way")
    parser.add_argument(
        "--contenders",
        type=_contender_names,
        default=list(CONTENDERS),
        metavar="ours,dj-queue",
        help=f"of {', '.join(CONTENDERS)}; the first is compared with each other",
    )
    parser.add_argument("--rounds", type=int, help="runs of each scenario: 3, with --quick 1")
    parser.add_argument("--quick", action="store_true", help="one small round: does it work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    return parser.parse_args(arguments)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _contender_names(text: str) -> list[str]:
    names = _words(text)
    if unknown := set(names) - set(CONTENDERS):
        raise argparse.ArgumentTypeError(f"no such contender: {', '.join(sorted(unknown))}")
    return names


def _chosen_scenarios(only: Sequence[str] | None) -> list[Scenario]:
    if only is None:
        return [scenario for scenario in SCENARIOS if not scenario.only_on_request]
    names = {scenario.rows_of or scenario.name for scenario in SCENARIOS}
    if unknown := set(only) - names:
        sys.exit(f"no such scenario: {', '.join(sorted(unknown))}")
    return [scenario for scenario in SCENARIOS if (scenario.rows_of or scenario.name) in only]


def _installed(
    names: Sequence[str], postgres: Postgres, folder: Path, report: Report
) -> list[Workbench]:
    """The contenders that could be installed and migrated; the others are noted as failed."""
    benches = []
    for name in names:
        if (needs := CONTENDERS[name].needs) and not _answers(needs):
            report.facts[name] = f"left out, because nothing answers at {_shown(needs)}"
            continue
        _say(f"install {name}")
        bench = Workbench(CONTENDERS[name], postgres, folder)
        try:
            bench.install()
        except _FAILURES as error:
            report.failures.append(f"{name}, installation: {error}")
            continue
        assert bench.python is not None
        version = installed_versions(bench.python)[bench.contender.distribution]
        report.facts[name] = f"{version}; {bench.contender.settings}"
        benches.append(bench)
    return benches


def _answers(url: str) -> bool:
    """Whether a server listens where *url* says."""
    parts = urllib.parse.urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=2).close()
    except OSError:
        return False
    return True


def _shown(url: str) -> str:
    """*url* without a password."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port}"


def _measure(
    scenario: Scenario, benches: Sequence[Workbench], sizes: Sizes, rounds: int, report: Report
) -> None:
    """Let the contenders take turns, so that what else the machine does hits all of them."""
    for number in range(1, rounds + 1):
        for bench in benches:
            if not scenario.suits(bench.contender):
                continue
            name = bench.contender.name
            try:
                with bench.fresh_run(scenario.name) as run:
                    figures = scenario.measure(run, sizes)
            except _FAILURES as error:
                report.failures.append(f"{name}, {scenario.name}, round {number}: {error}")
                _say(f"{scenario.name} {number}/{rounds} {name}: failed, see the end of the report")
                continue
            report.add(name, figures)
            shown = ", ".join(
                f"{metric.key} {value:,.{metric.decimals}f}"
                for metric in scenario.metrics
                if (value := figures.get(metric.key)) is not None
            )
            _say(f"{scenario.name} {number}/{rounds} {name}: {shown}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
