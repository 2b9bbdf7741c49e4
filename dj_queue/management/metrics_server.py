"""Metrics, stats and health of a process that is no web server: `manage.py dj_queue --metrics-port`.

The views of `dj_queue.views`, with their rules about who may see what, behind a small server of the standard
library. A request gets a thread and a connection to the database, and takes both along when it ends.
"""

import threading
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from django.core.handlers.wsgi import WSGIRequest
from django.db import connections
from django.http import HttpResponse

from dj_queue import views
from dj_queue.exceptions import NotStarted

_VIEWS = {
    "/metrics": views.observability_metrics_view,
    "/stats.json": views.observability_stats_view,
    "/health": views.health_view,
}


class MetricsServer:
    """A server that runs in a thread as long as the block does."""

    def __init__(self, address: str) -> None:
        """Listen at *address*: a port, or a host and a port with a colon; 0 is any free port.

        Raises `NotStarted` for what is no address, or one that cannot be had.
        """
        host, _, port = address.rpartition(":")
        try:
            self._server = _Server((host or "0.0.0.0", int(port)), _QuietHandler)  # noqa: S104
        except (OSError, OverflowError, ValueError) as error:
            raise NotStarted(f"--metrics-port {address}: cannot listen there: {error}") from error
        self._server.set_app(_serve)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="dj_queue-metrics", daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    view = _VIEWS.get(environ.get("PATH_INFO", ""))
    try:
        response = HttpResponse(status=404) if view is None else view(WSGIRequest(environ))
    finally:
        connections.close_all()
    status = f"{response.status_code} {response.reason_phrase}"
    start_response(status, [(name, str(value)) for name, value in response.items()])
    return [response.content]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # A restart must not wait for the old connections to be forgotten.
    allow_reuse_address = True


class _QuietHandler(WSGIRequestHandler):
    timeout = 30

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        """A scrape every few seconds is not worth a line each."""
