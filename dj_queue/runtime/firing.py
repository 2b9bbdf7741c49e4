"""Firing what is due, entry by entry: one that cannot be fired keeps none of the others from it."""

import time
from datetime import datetime, timedelta
from typing import cast

from django.db import InterfaceError, OperationalError

from dj_queue import events
from dj_queue.backoff import Backoff
from dj_queue.config import BackendConfig
from dj_queue.models import RecurringTask
from dj_queue.operations.catch_up import ON_TIME_SECONDS, due_times
from dj_queue.operations.recurring import fire, pass_over, prepared
from dj_queue.reads.recurring import due_tasks
from dj_queue.store.shared import from_column

# How many entries are read at a time.
_BATCH = 100

# An entry that failed is tried again after a minute, and ever later.
_FIRST_RETRY_SECONDS = 60.0
_LAST_RETRY_SECONDS = 3600.0


class _Failing:
    """An entry that could not be fired the last time."""

    def __init__(self) -> None:
        self._backoff = Backoff(first=_FIRST_RETRY_SECONDS, ceiling=_LAST_RETRY_SECONDS)
        self.retry_at = 0.0

    def again(self) -> float:
        """It has failed once more; after how many seconds to try again."""
        delay = self._backoff.next_delay()
        self.retry_at = time.monotonic() + delay
        return delay


class Firings:
    """What one scheduler has fired, and what it could not. For its thread only."""

    def __init__(self, config: BackendConfig) -> None:
        self._config = config
        self._failing: dict[int, _Failing] = {}
        # Until when all that was due has been fired, and in which term as leader.
        self._fired_until: tuple[datetime, int | None] | None = None

    def fire_due(self, now: datetime, *, until: float, term: int | None) -> bool:
        """Fire what is due at *now*, by the database's clock; whether that was all of it.

        Ends soon after the monotonic time *until*. *term* tells leaderships apart: who was not the leader
        a moment ago was away, and makes up for times as each entry's `catch_up` says.
        """
        was_away = self._was_away(now, term)
        while True:
            rows = due_tasks(self._config, now, limit=_BATCH, without=self._resting())
            for row in rows:
                self._fire(row, now, was_away=was_away)
                if time.monotonic() >= until:
                    return False
            if len(rows) < _BATCH:
                self._fired_until = (now, term)
                return True

    @property
    def seconds_to_retry(self) -> float:
        """In how many seconds to try an entry again that has failed; infinite when none has."""
        first = min((each.retry_at for each in self._failing.values()), default=float("inf"))
        return max(0.0, first - time.monotonic())

    def _was_away(self, now: datetime, term: int | None) -> bool:
        if self._fired_until is None or self._fired_until[1] != term:
            return True
        return (now - self._fired_until[0]).total_seconds() > ON_TIME_SECONDS

    def _resting(self) -> list[int]:
        moment = time.monotonic()
        return [pk for pk, failing in self._failing.items() if failing.retry_at > moment]

    def _fire(self, row: RecurringTask, now: datetime, *, was_away: bool) -> None:
        failing = self._failing.get(row.pk)
        try:
            self._fire_times(row, now, was_away=was_away or failing is not None)
        except (OperationalError, InterfaceError):
            raise  # It is the database that fails, and not this entry.
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it
            failing = self._failing.setdefault(row.pk, _Failing())
            retry_in = timedelta(seconds=failing.again())
            events.emit(events.RecurringTaskFailed(self._config.alias, row.key, error, retry_in))
        else:
            self._failing.pop(row.pk, None)

    def _fire_times(self, row: RecurringTask, now: datetime, *, was_away: bool) -> None:
        firing = prepared(self._config, row)
        if row.next_run_at is None:
            # Somebody has written it by hand: it begins now.
            pass_over(self._config, row, now)
            return
        first = cast("datetime", from_column(row.next_run_at))
        due = due_times(
            firing.schedule,
            first,
            now,
            catch_up=row.catch_up,
            limit=self._config.options.scheduler.catch_up_limit,
            was_away=was_away,
        )
        for run_at in due.times:
            fire(self._config, firing, run_at)
        if not due.times:
            pass_over(self._config, row, now)
        if due.is_short:
            events.emit(
                events.RecurringTimesMissed(self._config.alias, row.key, first, len(due.times))
            )
