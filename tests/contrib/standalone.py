"""`manage.py dj_queue` as a process of the tests."""

import os
import subprocess
import sys
from pathlib import Path

from dj_queue.models import Process
from tests.contrib.servers import ROOT, environment, started
from tests.site import standalone_tasks
from tests.waiting import PATIENCE, wait_until

COMMAND = ["-m", "django", "dj_queue"]
UP = "Stop with ^C"


def command(log, *arguments, ready=UP, **options):
    """The command with these OPTIONS until the block ends; begins when *ready* was printed."""
    return started([*COMMAND, *arguments], log, ready=ready, **options)


def run(*arguments, **options):
    """The command until it ends by itself."""
    return subprocess.run(
        [sys.executable, *COMMAND, *arguments],
        env=environment(**options),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
        check=False,
    )


def begin_long_job(folder, seconds=600):
    """Enqueue a job that sleeps, and wait until it does: it is not only claimed, it runs."""
    path = folder / "begun"
    result = standalone_tasks.say_and_sleep.enqueue(str(path), seconds)
    wait_until(path.exists, seconds=30, what="the job has begun")
    return result


def supervisor_pids():
    """The processes that are registered."""
    return set(Process.objects.filter(kind="Supervisor").values_list("pid", flat=True))


def is_alive(pid):
    """Whether *pid* is there and not a zombie that nobody has waited for."""
    status = Path(f"/proc/{pid}/stat")
    if status.exists():
        return status.read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    if Path("/proc/self").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
