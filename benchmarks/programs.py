"""Start, watch and stop the processes of a benchmark.

Every process leads a session of its own, so that stopping it reaches the children it forked, and
everything it prints goes to a log whose end is shown when it fails.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.deadline import Deadline, DeadlineExceeded

__all__ = ["LineProgram", "Program", "ProgramFailed", "run_to_end"]

_GRACE_SECONDS = 10
_LOG_TAIL_CHARACTERS = 2_000


class ProgramFailed(Exception):
    """A process of a benchmark ended when it should not have, or with an error."""


class Program:
    """A process in a session of its own; leaving the context stops it and its children."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        log: Path,
        talks: bool = False,
    ) -> None:
        self._log = log
        self._name = " ".join(str(part) for part in command)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=cwd,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else output,
                stderr=output,
                start_new_session=True,
                text=True,
            )

    @property
    def pid(self) -> int:
        """The id of the process and of its session."""
        return self._process.pid

    def check_running(self) -> None:
        """Raise `ProgramFailed` with the end of the log when the process has ended."""
        if (code := self._process.poll()) is not None:
            raise self._failure(f"ended with exit code {code}")

    def wait_for_success(self, deadline: Deadline) -> None:
        """Wait for the end of the process; raise `ProgramFailed` unless its exit code is 0."""
        try:
            code = self._process.wait(deadline.remaining())
        except subprocess.TimeoutExpired:
            raise self._failure("did not end in time") from None
        if code != 0:
            raise self._failure(f"ended with exit code {code}")

    def stop(self) -> None:
        """Ask the process to end, then kill whatever is left of its session."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)
        # Also after a clean end: forked children may outlive their parent.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_GRACE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _failure(self, what: str) -> ProgramFailed:
        tail = self._log.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:]
        return ProgramFailed(f"{self._name} {what}; the end of its log:\n{tail}")


class LineProgram(Program):
    """A process that reads and writes one JSON document per line."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        super().__init__(command, cwd=cwd, environment=environment, log=log, talks=True)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # A thread, because a pipe has no read with a deadline that also knows about buffered text.
        self._reader = threading.Thread(target=self._read, name=f"read {self.pid}", daemon=True)
        self._reader.start()

    def send(self, document: object) -> None:
        """Write *document* as one line."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(document) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure("does not read any more") from None

    def receive(self, deadline: Deadline) -> Any:
        """The next document; raises `ProgramFailed` when the process ends without one."""
        try:
            line = self._lines.get(timeout=deadline.remaining())
        except queue.Empty:
            raise DeadlineExceeded(f"waited in vain for {deadline.waiting_for}") from None
        if line is None:
            self._process.wait(_GRACE_SECONDS)
            raise self._failure("ended before it answered")
        return json.loads(line)

    def stop(self) -> None:
        """Close the conversation, then stop the process and its reader."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        super().stop()
        self._reader.join(_GRACE_SECONDS)
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)


def run_to_end(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    log: Path,
    seconds: float,
) -> None:
    """Run *command* and raise `ProgramFailed` unless it succeeds within *seconds*."""
    with Program(command, cwd=cwd, environment=environment, log=log) as program:
        program.wait_for_success(Deadline.after(seconds, f"the end of {command[0]}"))
