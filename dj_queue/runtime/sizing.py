"""How many jobs to claim: what can start now, and of short jobs a little more.

A worker that takes only what its free threads can start pays a round trip for each job; one that takes
many hoards work that others could do. So what is taken beyond the free threads is bounded by time: about
as much as the threads get done while the next request is under way, judged by how long jobs took. After
one long job the measure is that of long jobs, and nothing is taken ahead until short ones prove otherwise.
"""

from collections.abc import Sequence

LOOK_AHEAD_SECONDS = 0.02
"""How long the jobs that are taken ahead should last."""

HOARD_SECONDS = 0.1
"""Jobs that wait longer than this for a thread go back to where others can take them."""

MAX_CLAIM = 500
"""The most jobs in one claim. Beyond this a larger batch gains nothing (benchmarks, drain)."""

# How much of the old measure stays when a batch of shorter jobs ended.
_MEMORY = 0.7


class Sizing:
    """Keeps the measure of how long jobs take, and says how many to take ahead."""

    def __init__(self) -> None:
        self._seconds_per_job: float | None = None

    def ended(self, durations: Sequence[float]) -> None:
        """Take note of jobs that ended, by how many seconds each took."""
        if not durations:
            return
        mean, longest = sum(durations) / len(durations), max(durations)
        measured = self._seconds_per_job
        if measured is None or longest > LOOK_AHEAD_SECONDS:
            self._seconds_per_job = max(mean, longest)
        else:
            self._seconds_per_job = max(mean, _MEMORY * measured + (1 - _MEMORY) * mean)

    def hoarded(self) -> None:
        """Take note that jobs waited in vain: a long one holds the threads, so nothing is taken ahead."""
        self._seconds_per_job = HOARD_SECONDS

    def ahead(self, threads: int) -> int:
        """How many jobs to have waiting for *threads* threads besides those that run."""
        if self._seconds_per_job is None:
            return 0
        return min(MAX_CLAIM, int(threads * LOOK_AHEAD_SECONDS / max(self._seconds_per_job, 1e-5)))
