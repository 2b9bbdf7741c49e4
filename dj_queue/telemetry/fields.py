"""What log records carry besides their sentence."""

from typing import Any

_CONTRACT_NAMES = {
    "backend": "backend_alias",
    "task": "task_path",
    "queue": "queue_name",
    "error_type": "exception_class",
}


def extra(event: str, **fields: object) -> dict[str, Any]:
    """The `extra` of a record: the name of the *event*, and its fields.

    Flat with a prefix of our own, for formatters; together in `dj_queue`, with their long names, for
    programs; and the name once more where OpenTelemetry looks for it.
    """
    return {
        "event": event,
        "otel.event.name": event if event.startswith("dj_queue.") else f"dj_queue.{event}",
        "dj_queue": {_CONTRACT_NAMES.get(name, name): value for name, value in fields.items()},
        **{f"djq_{name}": value for name, value in fields.items()},
    }
