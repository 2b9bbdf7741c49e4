"""The dispatcher: makes scheduled jobs ready when their time has come.

It sleeps until the next job is due by the database's clock, and is woken when one is scheduled. Of all
dispatchers of a backend, in one process or many, one leads and works, see `dj_queue.runtime.leadership`;
more than one would share the work, for each takes rows that no other has locked.
"""

from typing import Any

from dj_queue import events
from dj_queue.config import BackendConfig, DispatcherConfig
from dj_queue.operations import limits
from dj_queue.runtime.leadership import LeaderActor
from dj_queue.runtime.polling import SAFETY_SECONDS
from dj_queue.runtime.registration import Registration
from dj_queue.runtime.retries import retry_due
from dj_queue.runtime.upkeep import LimitUpkeep
from dj_queue.store import Session, Topic, store_for
from dj_queue.store.locks import Holder

# A timer that fires a moment early would find nothing due and have to come back.
_LATE_SECONDS = 0.001


class Dispatcher(LeaderActor):
    """One entry of `dispatchers`."""

    role = "dispatcher"

    def __init__(
        self,
        config: BackendConfig,
        dispatcher: DispatcherConfig,
        registration: Registration,
        name: str,
    ) -> None:
        super().__init__(
            config.alias,
            f"dj_queue-{config.alias}-{name}",
            Holder(registration.name(name), registration.pid, registration.hostname),
        )
        self.config = config
        self.dispatcher = dispatcher
        self.process_name = registration.name(name)
        self._limits = LimitUpkeep(config, dispatcher)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the dispatcher's row tells about it."""
        return {
            "batch_size": self.dispatcher.batch_size,
            "polling_interval": self.dispatcher.polling_interval,
            "concurrency_maintenance": self.dispatcher.concurrency_maintenance,
            "concurrency_maintenance_interval": self.dispatcher.concurrency_maintenance_interval,
        }

    def open_session(self) -> Session:
        options = self.config.options
        return store_for(options.database_alias).open_session(
            self.config.alias, listen=(Topic.SCHEDULED,) if options.listen_notify else ()
        )

    def lead(self, session: Session) -> float:
        promotion = session.promote_due(self.dispatcher.batch_size)
        if promotion.promoted:
            events.emit(events.JobsPromoted(self.config.alias, promotion.promoted))
            events.emit(
                events.JobsReady(
                    self.config.options.database_alias,
                    self.config.alias,
                    tuple(promotion.queues),
                )
            )
        limits.tell(self.config.options.database_alias, promotion.settled)
        seconds_to_upkeep = self._limits.work(session, has_blocked=promotion.has_blocked)
        if promotion.seconds_to_retry == 0.0:
            retry_due(self.config, self.dispatcher.batch_size)
        if promotion.promoted == self.dispatcher.batch_size or promotion.seconds_to_retry == 0.0:
            return 0.0
        seconds = (
            max(SAFETY_SECONDS, self.dispatcher.polling_interval)
            if session.is_woken_by_database
            else self.dispatcher.polling_interval
        )
        for seconds_to_next in (
            promotion.seconds_to_next,
            promotion.seconds_to_retry,
            seconds_to_upkeep,
        ):
            if seconds_to_next is not None:
                seconds = min(seconds, max(0.0, seconds_to_next) + _LATE_SECONDS)
        return seconds
