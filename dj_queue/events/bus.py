"""Who listens to which facts, and how they are told."""

import logging
from collections.abc import Callable
from typing import NamedTuple

_logger = logging.getLogger("dj_queue.events")

type Listener[E] = Callable[[E], None]


def _always() -> bool:
    return True


class _Entry(NamedTuple):
    listener: Listener[object]
    when: Callable[[], bool]


_listeners: dict[type, tuple[_Entry, ...]] = {}


def subscribe[E](
    event_type: type[E], listener: Listener[E], *, when: Callable[[], bool] = _always
) -> Callable[[], None]:
    """Call *listener* with every event of *event_type*; the returned function ends that.

    *when* says whether it would do anything with one now, see `is_wanted`.
    """
    entry = _Entry(listener, when)  # type: ignore[arg-type]
    _listeners[event_type] = (*_listeners.get(event_type, ()), entry)

    def unsubscribe() -> None:
        _listeners[event_type] = tuple(
            known for known in _listeners.get(event_type, ()) if known is not entry
        )

    return unsubscribe


def is_wanted(event_type: type) -> bool:
    """Whether anybody listens, for code that would make an event only to see it dropped."""
    # A loop and not `any`: this is asked three times in each enqueue, and a generator is half of the time.
    for entry in _listeners.get(event_type, ()):  # noqa: SIM110
        if entry.when():
            return True
    return False


def emit(event: object) -> None:
    """Tell everybody who subscribed to the type of *event*."""
    for entry in _listeners.get(type(event), ()):
        try:
            entry.listener(event)
        except Exception:
            _logger.exception("A listener of %s failed.", type(event).__name__)
