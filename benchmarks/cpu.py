"""CPU time of processes, read from /proc; empty answers where there is no /proc."""

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["CpuTimes", "cpu_times", "session_pids", "spent_between"]

type CpuTimes = dict[int, float]
"""Seconds of CPU (user + system) used so far, by process id."""

_PROC = Path("/proc")
_SESSION, _USER_TICKS, _SYSTEM_TICKS = 3, 11, 12  # counted from the state, the field after the name


def session_pids(session: int) -> list[int]:
    """The processes of *session*: a worker we started in a session of its own, and its children."""
    if not _PROC.is_dir():
        return []
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [pid for pid in pids if (stat := _stat(pid)) and int(stat[_SESSION]) == session]


def cpu_times(pids: Iterable[int]) -> CpuTimes:
    """CPU seconds of each of *pids* that still exists."""
    tick = os.sysconf("SC_CLK_TCK")
    return {
        pid: (int(stat[_USER_TICKS]) + int(stat[_SYSTEM_TICKS])) / tick
        for pid in pids
        if (stat := _stat(pid))
    }


def spent_between(before: CpuTimes, after: CpuTimes) -> float | None:
    """CPU seconds spent from *before* to *after*; None when nothing could be read.

    A process that is only in *after* was started in between, so all of its time counts. One that is
    only in *before* has ended, and what it used at the end is lost.
    """
    if not after:
        return None
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:  # no such process any more, or no /proc
        return None
    # The name stands in parentheses and may hold spaces and parentheses of its own.
    return text.rpartition(")")[2].split()
