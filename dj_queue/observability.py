"""What runs and what waits, as plain data: what `stats.json` serves, for programs in the same process."""

from datetime import datetime
from typing import Any

from dj_queue.config import backend_config, configured_backend_aliases
from dj_queue.reads import stats, tables
from dj_queue.reads.stats import BackendSnapshot, QueueStats
from dj_queue.states import JobState

__all__ = ["BackendSnapshot", "all_backend_snapshots", "backend_snapshot", "stats_payload"]


def backend_snapshot(
    *, backend_alias: str = "default", now: datetime | None = None
) -> BackendSnapshot:
    """One backend; see `dj_queue.reads.stats` for what it costs, and for *now*."""
    return stats.snapshot(backend_config(backend_alias), now)


def all_backend_snapshots(*, now: datetime | None = None) -> list[BackendSnapshot]:
    """Every backend of dj_queue in `TASKS`."""
    return [
        backend_snapshot(backend_alias=alias, now=now) for alias in configured_backend_aliases()
    ]


def stats_payload(*, now: datetime | None = None) -> dict[str, Any]:
    """What `stats.json` says; *now*, aware, replaces the database's clock."""
    return {"backends": [_described(taken) for taken in all_backend_snapshots(now=now)]}


def _described(taken: BackendSnapshot) -> dict[str, Any]:
    statuses = stats.by_status(taken.processes)
    described: dict[str, Any] = {
        "backend_alias": taken.backend_alias,
        "queue_database_alias": taken.database_alias,
        "process_alive_threshold": taken.alive_threshold.total_seconds(),
        "captured_at": taken.taken_at.isoformat(),
        "queues": [_queue(queue) for queue in taken.queues],
        "runner_metrics": {
            "live": sum(numbers["live"] for numbers in statuses.values()),
            "stale": sum(numbers["stale"] for numbers in statuses.values()),
            "by_kind": statuses,
        },
        "leaders": [
            {
                "role": leader.role,
                "process": leader.process_name,
                "term": leader.term,
                "since": leader.since.isoformat(),
                "progress_at": leader.progress_at.isoformat(),
            }
            for leader in taken.leaders
        ],
        "recurring": [
            {
                "key": each.key,
                "task_path": each.task_path,
                "queue_name": each.queue_name,
                "schedule": each.schedule,
                "static": each.static,
                "enabled": each.enabled,
                "last_run_at": _iso(each.last_run_at),
                "next_run_at": _iso(each.next_run_at),
            }
            for each in taken.recurring
        ],
        "recurring_count": taken.recurring_count,
        "semaphores": [
            {
                "scope": "queue_database",
                "queue_database_alias": taken.database_alias,
                "key": each.key,
                "available_slots": each.available,
                "limit": each.limit,
                "active_count": each.occupied,
                "blocked_waiters": each.waiting,
                "expires_at": each.expires_at.isoformat(),
            }
            for each in taken.semaphores
        ],
        "semaphore_count": taken.semaphore_count,
        "failed_jobs": _failed(taken),
    }
    if (found := tables.postgres_tables(taken.database_alias)) is not None:
        described["postgres_diagnostics"] = {
            "queue_tables": found,
            "captured_at": taken.taken_at.isoformat(),
        }
    return described


def _queue(queue: QueueStats) -> dict[str, Any]:
    return {
        "name": queue.name,
        **{f"{state}_count": getattr(queue, state) for state in JobState},
        "paused": queue.paused,
        "latency_seconds": queue.latency,
        "oldest_ready_at": _iso(queue.oldest_ready_at),
        "oldest_scheduled_at": _iso(queue.next_scheduled_at),
        "oldest_blocked_at": _iso(queue.oldest_blocked_at),
        "live_worker_count": queue.live_workers,
        "estimated_counts": [f"{state}_count" for state in queue.estimated],
    }


def _failed(taken: BackendSnapshot) -> dict[str, Any]:
    failures, retention, now = taken.failures, taken.failed_retention, taken.taken_at
    return {
        "count": failures.total.number,
        "oldest_created_at": _iso(failures.oldest),
        "oldest_age_seconds": _age(failures.oldest, now),
        "retention_seconds": None if retention is None else retention.total_seconds(),
        "over_retention_count": failures.over_retention.number,
        "oldest_over_retention_created_at": _iso(failures.oldest_over_retention),
        "oldest_over_retention_age_seconds": _age(failures.oldest_over_retention, now),
        "is_estimated": not failures.total.is_exact,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _age(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else max(0.0, (now - moment).total_seconds())
