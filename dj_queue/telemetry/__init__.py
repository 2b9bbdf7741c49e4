"""How events become visible to people: logs, and traces and metrics of OpenTelemetry.

Nothing else in the library logs on its own, or names OpenTelemetry.
"""

__all__ = ["listen"]


def listen() -> None:
    """Let all of them listen from now on; a second call changes nothing."""
    # Here, because what they import needs Django's models, and a project may want a module of this
    # package before those are there.
    from dj_queue.telemetry import enqueue_counts, gauges, instruments, internals, logs, traces

    if not logs.listen():
        return
    traces.listen()
    instruments.listen()
    internals.listen()
    gauges.listen()
    enqueue_counts.listen()
