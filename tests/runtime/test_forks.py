"""What a forked process has of its parent: nothing that they could quarrel over."""

import subprocess
import sys

from dj_queue.models import Job
from tests.contrib.servers import ROOT, environment
from tests.waiting import PATIENCE


def test_parent_and_child_have_connections_and_locks_of_their_own():
    done = subprocess.run(
        [sys.executable, "-m", "tests.site.forks"],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "child shares the connection: False",
        "child ended with: 0",
        "parent keeps its connection: True",
    ]
    assert Job.objects.count() == 3
