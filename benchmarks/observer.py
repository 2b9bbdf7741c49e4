"""The process that looks at PostgreSQL for the benchmarks, one JSON document per line each way.

It runs in an environment of its own, with the driver that the orchestrator must do without. It
holds two connections: one to the maintenance database, for what is visible from anywhere, and one
to the database under observation. A scenario that counts what a contender does (S5) uses only the
first, so nothing the observer does is counted.

This file is run as a script and imports nothing of the package.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

_FINISHED_CHANNEL = "bench_finished"

# Of each statement of the floor.
_FLOOR_STATEMENTS = 60


class Observer:
    """Answers the requests; every public method is one, named by the `do` of the request."""

    def __init__(self, server_url: str) -> None:
        self._admin = psycopg.connect(server_url, autocommit=True)
        self._target: psycopg.Connection[Any] | None = None

    def recreate(self, database: str, template: str | None, url: str) -> None:
        """Drop *database*, create it anew, from *template* where one is named, and look at it."""
        self.drop(database)
        create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database))
        if template is not None:
            create += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        self._admin.execute(create)
        if template is not None:
            self._target = psycopg.connect(url, autocommit=True)

    def drop(self, database: str) -> None:
        """Drop *database*, whoever is still connected to it."""
        if self._target is not None:
            self._target.close()
            self._target = None
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        self._admin.execute(statement.format(sql.Identifier(database)))

    def server(self) -> dict[str, str]:
        """What of the server's configuration a reader of the figures must know."""
        names = ("server_version", "fsync", "synchronous_commit", "shared_buffers", "wal_level")
        return {name: self._value(self._admin, f"SHOW {name}") for name in names}

    def value(self, query: str) -> Any:
        """The single value that *query* gives in the observed database."""
        return self._value(self._observed(), query)

    def execute(self, statements: str) -> None:
        """Run *statements* in the observed database."""
        self._observed().execute(statements.encode())

    def floor(self, pause: float) -> dict[str, float]:
        """Median seconds of the least that anybody has to ask: a SELECT, and a durable one-row INSERT.

        Prepared, one at a time, each after *pause* seconds: after a rest everything takes longer.
        """
        observed = self._observed()
        observed.execute("CREATE TABLE IF NOT EXISTS bench_floor (number bigint PRIMARY KEY)")
        seconds: dict[str, list[float]] = {"select": [], "insert": []}
        for number in range(_FLOOR_STATEMENTS):
            for name, statement in (
                ("select", "SELECT %s::bigint"),
                ("insert", "INSERT INTO bench_floor VALUES (%s)"),
            ):
                time.sleep(pause)
                began = time.perf_counter()
                observed.execute(statement, (number,), prepare=True)
                seconds[name].append(time.perf_counter() - began)
        observed.execute("DROP TABLE bench_floor")
        return {name: statistics.median(found) for name, found in seconds.items()}

    def backends(self, database: str) -> list[int]:
        """Process ids of the server's backends for *database*, the observer's own left out."""
        own = self._target.info.backend_pid if self._target is not None else 0
        rows = self._admin.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND pid <> %s", (database, own)
        )
        return [pid for (pid,) in rows]

    def counters(self, database: str) -> dict[str, int]:
        """Transactions ended and sessions begun in *database* since it was created."""
        row = self._admin.execute(
            "SELECT xact_commit + xact_rollback, sessions FROM pg_stat_database WHERE datname = %s",
            (database,),
        ).fetchone()
        assert row is not None
        return {"transactions": row[0], "sessions": row[1]}

    def listen(self) -> None:
        """Subscribe to the commits that the trigger of `postgres.finished_trigger` reports."""
        self._observed().execute(f"LISTEN {_FINISHED_CHANNEL}")

    def watch_finished(self, count: int, seconds: float) -> list[tuple[str, float]]:
        """Id and moment (monotonic) of each job seen committed, until *count* or *seconds*."""
        seen: dict[str, float] = {}
        stop_at = time.monotonic() + seconds
        while len(seen) < count and (left := stop_at - time.monotonic()) > 0:
            for notice in self._observed().notifies(timeout=left, stop_after=1):
                now = time.monotonic()
                for job_id in notice.payload.split(","):
                    seen.setdefault(job_id, now)
        return list(seen.items())

    def close(self) -> None:
        """Close both connections."""
        for connection in (self._admin, self._target):
            if connection is not None:
                connection.close()

    def _observed(self) -> psycopg.Connection[Any]:
        assert self._target is not None, "no database is under observation"
        return self._target

    @staticmethod
    def _value(connection: psycopg.Connection[Any], query: str) -> Any:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def main() -> None:
    """Answer requests from standard input until it ends."""
    observer = Observer(sys.argv[1])
    try:
        for line in sys.stdin:
            request = json.loads(line)
            act: Callable[..., Any] = getattr(observer, request.pop("do"))
            try:
                answer = {"answer": act(**request)}
            except psycopg.Error as error:  # the next request may well succeed
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)
    finally:
        observer.close()


if __name__ == "__main__":
    main()
