"""Whether jobs of a backend are being run, and what is wrong if they are not.

Each check returns sentences for somebody who has to act on them, in the reader's language; none of them means
healthy.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from dj_queue.config import BackendConfig, backend_config
from dj_queue.models import (
    BlockedExecution,
    ClaimedExecution,
    FailedExecution,
    Job,
    Leadership,
    Process,
    ReadyExecution,
    ScheduledExecution,
    Semaphore,
)
from dj_queue.reads import counts, queues, vacuum
from dj_queue.selectors import parse_selectors
from dj_queue.states import LANES, Executor
from dj_queue.store import store_for
from dj_queue.store.records import ROLLOUT_PROTOCOL
from dj_queue.store.shared import django_time, from_column

LEADER_SILENCE = timedelta(seconds=60)
"""A leader that did not say for so long that it gets on does not."""

# How many of the things that are wrong are named.
_NAMED = 3

# A job that has waited so long in a queue that nobody serves does so for a reason.
_PATIENCE = timedelta(minutes=1)

# Who works only while leading, by the role, and what does not happen when nobody does.
_ROLES = {
    "dispatcher": gettext_lazy("scheduled jobs do not become ready"),
    "scheduler": gettext_lazy("recurring tasks do not fire, and old jobs are not cleared away"),
}

# For so long after a process has fallen silent, those that live may take to notice.
_LEFT_BEHIND = timedelta(minutes=5)

# For so long after its time, retention may take to clear a job; and how many of the oldest are looked at.
_OVERDUE = timedelta(hours=1)
_OLDEST = 500

_EXECUTIONS: dict[str, Any] = {
    "ready": ReadyExecution,
    "scheduled": ScheduledExecution,
    "claimed": ClaimedExecution,
    "blocked": BlockedExecution,
    "failed": FailedExecution,
}


def problems(
    database: str, backend_alias: str, *, now: datetime, max_age: timedelta
) -> Iterator[str]:
    """What keeps jobs from being run now (*now* by the database's clock)."""
    rows = list(Process.objects.using(database).filter(backend_alias=backend_alias))
    leading = list(Leadership.objects.using(database).filter(backend_alias=backend_alias))
    yield from process_problems(backend_alias, rows, leading, now=now, max_age=max_age)
    if live := [row for row in rows if now - _seen(row) <= max_age]:
        yield from waiting_problems(database, backend_alias, live, now)
        yield from retention_problems(backend_config(backend_alias), now)


def process_problems(
    backend_alias: str,
    rows: Sequence[Process],
    leading: Sequence[Leadership],
    *,
    now: datetime,
    max_age: timedelta,
) -> Iterator[str]:
    """What the processes of a backend and its leaderships say about themselves; asks nothing."""
    live = [row for row in rows if now - _seen(row) <= max_age]
    if not live:
        seen = max(map(_seen, rows), default=None)
        if seen is None:
            yield _("no process runs jobs of backend %(backend)s: there never was one") % {
                "backend": repr(backend_alias)
            }
        else:
            yield _(
                "no process runs jobs of backend %(backend)s: the last sign of life was at %(seen)s"
            ) % {"backend": repr(backend_alias), "seen": f"{seen:%F %T %Z}"}
        return
    families = {row.supervisor_id or row.id for row in live}
    for row in rows:
        # A process that lives, and a part of it that gives no sign of life: it is stuck, or its thread died.
        if row not in live and (row.supervisor_id in families):
            yield _("%(name)s does not do its work: its last sign of life was at %(seen)s") % {
                "name": row.name,
                "seen": f"{_seen(row):%F %T %Z}",
            }
    yield from _leftover_problems(rows, families, now - max_age)
    if not any(row.kind == "Worker" for row in live):
        yield ngettext(
            "no worker of backend %(backend)s lives, though %(count)d other part of a process does",
            "no worker of backend %(backend)s lives, though %(count)d other parts of processes do",
            len(live),
        ) % {"backend": repr(backend_alias), "count": len(live)}
    for role in _ROLES:
        if could_lead := [row for row in live if row.kind == role.capitalize()]:
            since = min(cast("datetime", from_column(row.created_at)) for row in could_lead)
            yield from _leader_problems(leading, role, now, since)


def hearing_problems(live: Sequence[Process]) -> Iterator[str]:
    """Workers that the database cannot wake, though they are to listen; asks nothing."""
    if deaf := [row.name for row in live if row.metadata.get("is_deaf")]:
        yield _(
            "workers that PostgreSQL cannot wake, since a pooler stands between; they look for jobs at their "
            "polling_interval: %(names)s"
        ) % {"names": _some(deaf)}


def leaders(database: str, backend_alias: str) -> Iterator[str]:
    """Who leads, since when, and when there was progress last."""
    for row in Leadership.objects.using(database).filter(backend_alias=backend_alias):
        since, progress = from_column(row.since), from_column(row.progress_at)
        yield (
            _(
                "%(role)s: %(name)s leads since %(since)s (term %(term)d), last progress %(progress)s"
            )
            % {
                "role": row.role,
                "name": row.process_name,
                "since": f"{since:%F %T %Z}",
                "term": row.term,
                "progress": f"{progress:%F %T %Z}",
            }
        )


def deep_problems(
    database: str, backend_alias: str, *, now: datetime, max_age: timedelta, version: str | None
) -> Iterator[str]:
    """What contradicts itself in the tables, and what bloats them; reads them whole: not for each probe."""
    yield from _migration_problems(database)
    yield from _version_problems(database, backend_alias, version)
    yield from _state_problems(database, backend_alias)
    yield from _copy_problems(database, backend_alias)
    yield from _claim_problems(database, backend_alias, now - max_age)
    rows = Process.objects.using(database).filter(backend_alias=backend_alias)
    yield from hearing_problems([row for row in rows if now - _seen(row) <= max_age])
    if keys := _first(Semaphore.objects.using(database).filter(value__gt=F("limit")), "key"):
        yield _("semaphores with more free slots than they have slots: %(keys)s") % {
            "keys": _some(keys)
        }
    yield from vacuum.vacuum_problems(database, old=vacuum.OLD_TRANSACTION)


def _seen(row: Process) -> datetime:
    return cast("datetime", from_column(row.last_heartbeat_at))


def _leader_problems(
    leading: Sequence[Leadership], role: str, now: datetime, since: datetime
) -> Iterator[str]:
    """*since* when there are processes that could lead."""
    rows = [row for row in leading if row.role == role]
    if not rows and now - since > LEADER_SILENCE:
        yield _("nobody has ever led as %(role)s, though there are some who could: %(effect)s") % {
            "role": role,
            "effect": _ROLES[role],
        }
    for row in rows:
        progress = cast("datetime", from_column(row.progress_at))
        if now - progress > LEADER_SILENCE:
            yield _(
                "nobody gets on with the work of the %(role)s: %(name)s led last, and showed progress "
                "at %(progress)s"
            ) % {"role": row.role, "name": row.process_name, "progress": f"{progress:%F %T %Z}"}


def _migration_problems(database: str) -> Iterator[str]:
    executor = MigrationExecutor(connections[database])
    targets = [key for key in executor.loader.graph.leaf_nodes() if key[0] == "dj_queue"]
    if plan := executor.migration_plan(targets):
        names = [migration.name for migration, _backwards in plan]
        yield _("migrations of dj_queue are not applied on database %(database)s: %(names)s") % {
            "database": repr(database),
            "names": _some(names),
        }


def _version_problems(database: str, backend_alias: str, version: str | None) -> Iterator[str]:
    rows = Process.objects.using(database).filter(backend_alias=backend_alias)
    # Its actors are of the same version as the process itself.
    for row in rows.filter(supervisor=None):
        found, protocol = (row.metadata.get(n) for n in ("dj_queue_version", "rollout_protocol"))
        if protocol not in (None, ROLLOUT_PROTOCOL):
            yield _(
                "%(name)s (dj_queue %(version)s) has rollout_protocol %(protocol)s, which must not run "
                "beside %(ours)s"
            ) % {
                "name": row.name,
                "version": found or _("of unknown version"),
                "protocol": protocol,
                "ours": ROLLOUT_PROTOCOL,
            }
        if version is not None and found != version:
            yield _("%(name)s runs dj_queue %(version)s, and %(required)s is required") % {
                "name": row.name,
                "version": found or _("of unknown version"),
                "required": version,
            }


def _state_problems(database: str, backend_alias: str) -> Iterator[str]:
    one = {
        state: Case(When(**{f"{state}_execution__isnull": False}, then=1), default=0)
        for state in _EXECUTIONS
    }
    jobs = (
        Job.objects.using(database)
        .filter(backend_alias=backend_alias)
        .alias(**one)
        .alias(places=sum((F(state) for state in one), start=Value(0)))
    )
    several = jobs.filter(Q(places__gt=1) | Q(places__gt=0, finished_at__isnull=False))
    if ids := _first(several, "id"):
        yield _("jobs in more than one state at once: %(ids)s") % {"ids": _some(ids)}
    if ids := _first(jobs.filter(places=0, finished_at__isnull=True), "id"):
        yield _("jobs in no state at all, which nobody will run: %(ids)s") % {"ids": _some(ids)}


def _copy_problems(database: str, backend_alias: str) -> Iterator[str]:
    jobs = Job.objects.using(database).filter(id=OuterRef("job_id"))
    for state, model in _EXECUTIONS.items():
        rows, table = model.objects.using(database), f"dj_queue_{state}_executions"
        if state not in ("claimed", "failed"):
            rows = rows.filter(backend_alias=backend_alias)
        if ids := _first(rows.filter(~Exists(jobs)), "job_id"):
            yield _("rows of %(table)s whose job is gone: %(ids)s") % {
                "table": table,
                "ids": _some(ids),
            }
        if state not in ("claimed", "failed"):
            same = jobs.filter(
                queue_name=OuterRef("queue_name"), backend_alias=OuterRef("backend_alias")
            )
            if ids := _first(rows.filter(Exists(jobs) & ~Exists(same)), "job_id"):
                yield _("rows of %(table)s in another queue or backend than their job: %(ids)s") % {
                    "table": table,
                    "ids": _some(ids),
                }


def _claim_problems(database: str, backend_alias: str, alive_since: datetime) -> Iterator[str]:
    living = Process.objects.using(database).filter(
        id=OuterRef("process_id"), last_heartbeat_at__gte=django_time(alive_since)
    )
    lost = ClaimedExecution.objects.using(database).filter(
        ~Exists(living), job__backend_alias=backend_alias
    )
    if ids := _first(lost, "job_id"):
        yield _("claimed jobs whose process gives no sign of life: %(ids)s") % {"ids": _some(ids)}


def _leftover_problems(
    rows: Sequence[Process], families: set[int], alive_since: datetime
) -> Iterator[str]:
    """Processes that are gone, and that no living one has cleaned up after."""
    gone = [
        row.name
        for row in rows
        if row.supervisor_id is None
        and row.id not in families
        and _seen(row) < alive_since - _LEFT_BEHIND
    ]
    if gone:
        yield _("processes that are gone, and nobody has recovered their jobs: %(names)s") % {
            "names": _some(gone)
        }


def waiting_problems(
    database: str, backend_alias: str, live: Sequence[Process], now: datetime
) -> Iterator[str]:
    """Queues with ready jobs that none of the *live* processes serves, or none that can run them.

    Looks at the oldest job of each queue and priority only, however many wait.
    """
    config = backend_config(backend_alias)
    served = [
        (
            parse_selectors(row.metadata["queues"].split(",")),
            LANES.get(row.metadata.get("executor", ""), LANES["thread"]),
        )
        for row in live
        if row.kind == "Worker" and isinstance(row.metadata.get("queues"), str)
    ]
    names = sorted(store_for(database).waiting_queues(backend_alias) - queues.paused_queues(config))
    unserved: dict[str, None] = {}
    misfits: dict[str, None] = {}
    for (name, executor), since in sorted(counts.oldest_ready(config, names).items()):
        if now - since <= _PATIENCE:
            continue
        lanes = [lanes for selection, lanes in served if selection.matches(name)]
        if not lanes:
            unserved[name] = None
        elif not any(executor in lane for each in lanes for lane in each):
            kind = "process" if executor == Executor.PROCESS else "thread"
            needs = _("%(queue)s (needs %(executor)s)")
            misfits[needs % {"queue": name, "executor": repr(kind)}] = None
    if unserved:
        yield _(
            "queues with jobs that have waited for a minute and that no worker serves: %(names)s"
        ) % {"names": _some(list(unserved))}
    if misfits:
        yield _(
            "queues with jobs that have waited for a minute because no worker there has the executor "
            "that they need: %(names)s"
        ) % {"names": _some(list(misfits))}


def retention_problems(config: BackendConfig, now: datetime) -> Iterator[str]:
    """Jobs that should have been cleared long ago; looks at the oldest only."""
    options, database = config.options, config.options.database_alias
    if options.preserve_finished_jobs and options.clear_finished_jobs_after is not None:
        before = now - timedelta(seconds=options.clear_finished_jobs_after) - _OVERDUE
        oldest = Job.objects.using(database).order_by("id")
        for backend, finished_at in oldest.values_list("backend_alias", "finished_at")[:_OLDEST]:
            if backend == config.alias and finished_at is not None:
                if cast("datetime", from_column(finished_at)) < before:
                    yield _(
                        "finished jobs are kept for longer than OPTIONS['clear_finished_jobs_after']: "
                        "the oldest one ended at %(at)s"
                    ) % {"at": f"{finished_at:%F %T %Z}"}
                break
    if options.clear_failed_jobs_after is not None:
        before = now - timedelta(seconds=options.clear_failed_jobs_after) - _OVERDUE
        failed = FailedExecution.objects.using(database).order_by("created_at", "id")
        overdue = failed.filter(created_at__lt=django_time(before))
        for backend, created_at in overdue.values_list("job__backend_alias", "created_at")[
            :_OLDEST
        ]:
            if backend == config.alias:
                yield _(
                    "failed jobs are kept for longer than OPTIONS['clear_failed_jobs_after']: the "
                    "oldest one failed at %(at)s"
                ) % {"at": f"{created_at:%F %T %Z}"}
                break


def _first(rows: QuerySet[Any], column: str) -> list[object]:
    """Some values of *column*, one more than are named."""
    return list(rows.values_list(column, flat=True)[: _NAMED + 1])


def _some(items: Sequence[object]) -> str:
    shown = ", ".join(map(str, items[:_NAMED]))
    return f"{shown}, …" if len(items) > _NAMED else shown
