"""Waits until the queue's own tables are there, for a worker that is deployed together with `migrate`.

Only dj_queue's migrations on the queue's database count: on a database of its own, the migrations of
other applications are pending for ever.
"""

import time
from collections.abc import Callable

from django.db import InterfaceError, OperationalError, connections
from django.db.migrations.executor import MigrationExecutor

from dj_queue.exceptions import NotStarted

_APP = "dj_queue"

POLL_SECONDS = 0.5

# A database that does not answer is told of at once and then once a minute.
_REPEAT_SECONDS = 60.0


def pending(database_alias: str) -> list[str]:
    """The migrations of dj_queue that *database_alias* has not, as `dj_queue.0001_initial`."""
    executor = MigrationExecutor(connections[database_alias])
    targets = [key for key in executor.loader.graph.leaf_nodes() if key[0] == _APP]
    plan = executor.migration_plan(targets)
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def wait_until_none(
    database_alias: str, seconds: float, *, tell: Callable[[str], object], rest: Callable[[], bool]
) -> bool:
    """Wait until no migration is pending; False when *rest* said to stop waiting.

    *rest* sleeps between two looks (`POLL_SECONDS`) and returns whether to give up; *tell* gets one
    sentence about each change. A database that does not answer is waited for without a limit, like the
    runtime does. Raises `NotStarted` when migrations are pending for more than *seconds*. Leaves
    no connection open.
    """
    told: str | None = None
    told_at = pending_since = 0.0
    while True:
        names, error = _look(database_alias)
        now = time.monotonic()
        if not names and error is None:
            return True
        if error is not None:
            sentence = (
                f"waiting for the database {database_alias!r}, which does not answer: {error}"
            )
            pending_since = 0.0
        else:
            sentence = f"waiting up to {seconds:g} s for migrations: {', '.join(names)}"
            pending_since = pending_since or now
            if now - pending_since >= seconds:
                raise NotStarted(
                    f"after {seconds:g} s these migrations are still pending on {database_alias!r}: "
                    f"{', '.join(names)}. Run 'migrate' first."
                )
        if sentence != told or now - told_at > _REPEAT_SECONDS:
            tell(sentence)
            told, told_at = sentence, now
        if rest():
            return False


def _look(database_alias: str) -> tuple[list[str], str | None]:
    try:
        return pending(database_alias), None
    except (OperationalError, InterfaceError) as error:
        return [], " ".join(str(error).split())
    finally:
        if not connections[database_alias].in_atomic_block:
            connections[database_alias].close()
