"""The orchestrator's side of the observer, and the URLs of the databases."""

import os
import urllib.parse
from pathlib import Path
from typing import Any

from benchmarks.deadline import Deadline
from benchmarks.programs import LineProgram

__all__ = ["Postgres", "PostgresFailed", "finished_trigger", "server_url"]

_DEFAULT_URL = "postgres://postgres@127.0.0.1:5432/"
_MAINTENANCE_DATABASE = "postgres"
_ANSWER_SECONDS = 120


def server_url() -> str:
    """Where PostgreSQL is: `DJ_QUEUE_BENCH_POSTGRES_URL` or the local default."""
    return os.environ.get("DJ_QUEUE_BENCH_POSTGRES_URL", _DEFAULT_URL)


class PostgresFailed(Exception):
    """PostgreSQL refused what a benchmark asked of it."""


class Postgres:
    """Asks the observer process; a context manager that ends it."""

    def __init__(self, python: Path, log: Path) -> None:
        url = self.url(_MAINTENANCE_DATABASE)
        script = Path(__file__).with_name("observer.py")
        self._observer = LineProgram(
            [python, script, url], cwd=script.parent, environment={}, log=log
        )

    @staticmethod
    def url(database: str) -> str:
        """The URL of *database* on the benchmark's server."""
        parts = urllib.parse.urlsplit(server_url())
        return urllib.parse.urlunsplit(parts._replace(path=f"/{database}"))

    def recreate(self, database: str, *, template: str | None = None) -> None:
        """Drop and create *database*; one made from a *template* is under observation after."""
        self._ask("recreate", database=database, template=template, url=self.url(database))

    def drop(self, database: str) -> None:
        """Drop *database* if it exists."""
        self._ask("drop", database=database)

    def server(self) -> dict[str, str]:
        """Version and the settings that matter for durability."""
        return dict(self._ask("server"))

    def value(self, query: str) -> Any:
        """The single value that *query* gives in the observed database."""
        return self._ask("value", query=query)

    def execute(self, statements: str) -> None:
        """Run *statements* in the observed database."""
        self._ask("execute", statements=statements)

    def floor(self, *, pause: float = 0.0) -> dict[str, float]:
        """Median seconds of a `select` and of a durable one-row `insert`, each after a *pause*."""
        return dict(self._ask("floor", pause=pause))

    def backends(self, database: str) -> list[int]:
        """Process ids of the server's backends for *database*, the observer's own left out."""
        return list(self._ask("backends", database=database))

    def counters(self, database: str) -> dict[str, int]:
        """Transactions ended and sessions begun in *database*."""
        return dict(self._ask("counters", database=database))

    def listen_for_finished(self) -> None:
        """Subscribe to what the trigger of `finished_trigger` reports."""
        self._ask("listen")

    def begin_watching_finished(self, count: int, *, seconds: float) -> None:
        """Let the observer collect the commits of *count* jobs while other things happen."""
        self._observer.send({"do": "watch_finished", "count": count, "seconds": seconds})

    def end_watching_finished(self, *, seconds: float) -> dict[str, float]:
        """Moment (monotonic) at which each job was seen committed, by job id."""
        answer = self._answer(Deadline.after(seconds, "the commits of the last jobs"))
        return {job_id: float(moment) for job_id, moment in answer}

    def __enter__(self) -> "Postgres":
        return self

    def __exit__(self, *_: object) -> None:
        self._observer.stop()

    def _ask(self, verb: str, **arguments: object) -> Any:
        self._observer.send({"do": verb, **arguments})
        return self._answer(Deadline.after(_ANSWER_SECONDS, f"PostgreSQL to {verb}"))

    def _answer(self, deadline: Deadline) -> Any:
        document = self._observer.receive(deadline)
        if "error" in document:
            raise PostgresFailed(document["error"])
        return document["answer"]


def finished_trigger(*, table: str, event: str, job_id: str, condition: str) -> str:
    """SQL that reports the commit of every job that ends as `NOTIFY bench_finished, '<id>,<id>'`.

    *event* on *table* (`INSERT` or `UPDATE`) ends the jobs of the rows that meet *condition*, and
    *job_id* is the column with their id. PostgreSQL delivers a notification after the commit and
    never before, so its arrival is the moment at which others can see the job as finished.
    """
    return f"""
        CREATE FUNCTION bench_report_finished() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            -- 100 ids a message: a payload may not exceed 8000 bytes, and an error here would make
            -- the finishing statement of the contender fail.
            PERFORM pg_notify('bench_finished', string_agg({job_id}::text, ','))
            FROM (SELECT {job_id}, (row_number() OVER () - 1) / 100 AS message
                  FROM changed WHERE {condition}) AS finished
            GROUP BY message;
            RETURN NULL;
        END $$;
        CREATE TRIGGER bench_report_finished AFTER {event} ON {table}
            REFERENCING NEW TABLE AS changed
            FOR EACH STATEMENT EXECUTE FUNCTION bench_report_finished();
    """
