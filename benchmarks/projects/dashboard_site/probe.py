"""Answers the orchestrator: fills the database, and says what an address costs in SQL.

{"do": "fill", "finished": 3000000, "ready": 500000}
{"do": "pids"}
{"do": "ask", "url": "/admin/", "rounds": 5, "forgets": false}
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import django
from django.db import connection


class SqlWatch:
    """Counts statements and their time, until their rows are here."""

    def __init__(self) -> None:
        self.count, self.seconds = 0, 0.0
        self.slowest, self.slowest_seconds = "", 0.0

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        """As a wrapper of `connection.execute_wrapper`."""
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            taken = time.perf_counter() - began
            self.count += 1
            self.seconds += taken
            if taken >= self.slowest_seconds:
                self.slowest, self.slowest_seconds = " ".join(str(sql).split()), taken


def main() -> None:
    """Until there are no more questions."""
    django.setup()
    from dashboard_site.filling import fill

    for line in sys.stdin:
        given = json.loads(line)
        verbs: dict[str, Callable[..., Any]] = {"fill": fill, "ask": _asked, "pids": _pids}
        answer = verbs[given.pop("do")](**given)
        print(json.dumps(answer), flush=True)


def _asked(url: str, rounds: int, forgets: bool) -> dict[str, Any]:
    client = _client()
    first = client.get(url, headers={"authorization": "Bearer benchmark"})
    watches, took = [], []
    for _ in range(rounds):
        watch = SqlWatch()
        if forgets:
            _forget()
        began = time.perf_counter()
        with connection.execute_wrapper(watch):
            client.get(url, headers={"authorization": "Bearer benchmark"})
        took.append(time.perf_counter() - began)
        watches.append(watch)
    last = watches[-1]
    return {
        "status": first.status_code,
        "statements": last.count,
        "sql_ms": statistics.median(watch.seconds for watch in watches) * 1000,
        "worst_sql_ms": max(watch.seconds for watch in watches) * 1000,
        "page_ms": statistics.median(took) * 1000,
        "slowest": last.slowest,
        "slowest_ms": last.slowest_seconds * 1000,
    }


def _forget() -> None:
    """What this process keeps of large numbers; the reference keeps none."""
    from dj_queue.admin.queries import counting

    counting.forget()


def _client() -> Any:
    from django.contrib.auth.models import User
    from django.test import Client

    user, _ = User.objects.get_or_create(
        username="olga", defaults={"is_staff": True, "is_superuser": True}
    )
    client = Client()
    client.force_login(user)
    return client


def _pids() -> list[int]:
    """This process, and the server's for its connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return [os.getpid(), cursor.fetchone()[0]]


if __name__ == "__main__":
    main()
