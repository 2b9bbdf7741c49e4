"""How requests fare while jobs wait or compute in the same server: `python -m benchmarks.requests`.

Runs uvicorn with a small site on SQLite, from the environment that runs this, and asks it for a page at a
fixed rate, each time on a new connection. A request counts from the moment at which it was due, so
that a server which cannot keep up does not look better by being asked less.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import percentile

_PROJECTS = Path(__file__).parent / "projects"
_ROOT = Path(__file__).parents[1]
_JOBS = 4

# What is compared: a name, what runs jobs, which job and how many of them.
_MODES = (
    ("idle", "thread", "wait", 0),
    ("4 jobs that wait, in threads", "thread", "wait", _JOBS),
    ("4 jobs that compute, in child processes", "process", "compute", _JOBS),
    ("4 jobs that compute, in threads", "thread", "compute", _JOBS),
)


def main() -> None:
    """Measure each mode in turn, several times, and print medians."""
    options = _options()
    modes = [mode for mode in _MODES if options.only is None or options.only in mode[0]]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name, *_ in modes}
    for _ in range(options.rounds):
        for name, executor, task, jobs in modes:
            waits = _measure(executor, task, jobs, rate=options.rate, seconds=options.seconds)
            found[name].append((percentile(waits, 0.5), percentile(waits, 0.99)))
    print(f"{options.rate} requests/s for {options.seconds:g} s, {options.rounds} round(s), ms")
    print("| | p50 | p99 |\n|---|---|---|")
    for name, rounds in found.items():
        middle, high = (statistics.median(each) * 1000 for each in zip(*rounds, strict=True))
        print(f"| {name} | {middle:.1f} | {high:.1f} |")


def _measure(executor: str, task: str, jobs: int, *, rate: int, seconds: float) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="dj-queue-bench-") as name:
        folder = Path(name)
        with _site(folder, executor) as port:
            asyncio.run(_ask_steadily(port, rate=rate, seconds=1.0))
            if jobs:
                query = f"task={task}&jobs={jobs}&seconds={seconds + 60}"
                asyncio.run(_get(port, f"/enqueue?{query}"))
                _wait(lambda: len(list(folder.glob("began-*"))) == jobs, "all jobs run")
            return asyncio.run(_ask_steadily(port, rate=rate, seconds=seconds))


async def _ask_steadily(port: int, *, rate: int, seconds: float) -> list[float]:
    """Ask *rate* times a second; how long each answer took."""
    loop = asyncio.get_running_loop()
    first = loop.time() + 0.05

    async def ask(number: int) -> float:
        due = first + number / rate
        await asyncio.sleep(due - loop.time())
        await _get(port, "/")
        return loop.time() - due

    return await asyncio.gather(*map(ask, range(int(rate * seconds))))


async def _get(port: int, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    if b" 200 " not in answer[:20]:
        raise RuntimeError(answer[:200])


@contextmanager
def _site(folder: Path, executor: str) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(_PROJECTS), str(_ROOT))),
        "DJANGO_SETTINGS_MODULE": "web_site.settings",
        "DJ_QUEUE_BENCH_FOLDER": str(folder),
        "DJ_QUEUE_BENCH_EXECUTOR": executor,
    }
    migrate = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, env=environment, check=True)
    command = [sys.executable, "-m", "uvicorn", "web_site.asgi:application"]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--log-level", "error"], env=environment
    )
    try:
        _wait(lambda: _answers(port), "the server answers")
        yield port
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            # Threads that compute leave a server no time to stop in.
            server.kill()
            server.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within a minute: {what}")
        time.sleep(0.02)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.requests", description=__doc__)
    parser.add_argument("--rate", type=int, default=50, help="requests per second")
    parser.add_argument("--seconds", type=float, default=10.0, help="for how long, each time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", metavar="TEXT", help="modes with this text in their name")
    return parser.parse_args()


if __name__ == "__main__":
    main()
