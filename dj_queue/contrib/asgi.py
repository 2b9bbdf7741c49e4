"""Runs jobs inside an ASGI server: `application = DjQueueLifespan(get_asgi_application())`.

The wrapper goes on the outside. A server says when it starts and stops through the lifespan protocol,
which Django does not speak: then it is spoken here. An application that does speak it gets every message,
and the runtime starts after it and stops before it.

Nothing of Django is imported with this module: an `asgi.py` may import it before `django.setup()`.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from dj_queue.contrib._hold import Hold

if TYPE_CHECKING:
    from dj_queue.runtime.supervisor import Supervisor

__all__ = ["DjQueueLifespan", "build_supervisor", "lifespan"]

type Scope = MutableMapping[str, Any]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_logger = logging.getLogger("dj_queue.supervisor")


def build_supervisor(backend_alias: str = "default") -> "Supervisor":
    """A supervisor for *backend_alias*, not started."""
    from dj_queue.runtime.supervisor import Supervisor

    return Supervisor.from_backend_config(backend_alias=backend_alias)


class DjQueueLifespan:
    """An ASGI application that runs the jobs of *backend_alias* as long as the server lives.

    With *required*, a runtime that cannot be started (a wrong setting, not a database that is down:
    that is waited for) keeps the server from starting; otherwise it is logged and the site is served
    without it. With *forward_wrapped_lifespan* off, the wrapped application hears nothing of the
    server's start and stop.
    """

    def __init__(
        self,
        app: Application,
        *,
        backend_alias: str = "default",
        forward_wrapped_lifespan: bool = True,
        required: bool = False,
    ) -> None:
        self.app = app
        self._runtime = _Runtime(backend_alias, required=required)
        self._forwards = forward_wrapped_lifespan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the server's lifespan."""
        if scope["type"] == "lifespan":
            try:
                await self._serve_lifespan(scope, receive, send)
            finally:
                # Cancelled in the middle: some servers do not say goodbye.
                self._runtime.stop_fast()
            return
        self._runtime.start_late()
        await self.app(scope, receive, send)

    async def _serve_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._forwards:
            await _speak_lifespan(self._runtime, receive, send)
            return
        conversation = _Conversation(self._runtime, receive, send)
        try:
            await self.app(scope, conversation.receive, conversation.send)
        except Exception:
            if conversation.has_begun:
                raise  # The application's own error, for the server to see.
        if not conversation.has_begun:
            # Django raises before it listens: it does not know the protocol.
            await _speak_lifespan(self._runtime, receive, send)


@asynccontextmanager
async def lifespan(app: object = None, *, backend_alias: str = "default") -> AsyncIterator[None]:
    """Runs jobs for the time of a `with` block: `FastAPI(lifespan=dj_queue.contrib.asgi.lifespan)`.

    For applications that have Django mounted inside, where no wrapper of Django hears of the lifespan.
    """
    del app
    hold = Hold(backend_alias)
    refusal = hold.start()
    if refusal is not None:
        raise _not_started(refusal)
    hold.heed_sigterm(takes_default=True)
    try:
        yield
    finally:
        try:
            await asyncio.to_thread(hold.stop)
        finally:
            hold.stop_fast()


class _Runtime:
    """This wrapper's hold on the runtime, and whether the server has said that it starts."""

    def __init__(self, backend_alias: str, *, required: bool) -> None:
        self._hold = Hold(backend_alias)
        self._required = required
        self._has_begun = False
        # Guards _has_begun: requests of a server without lifespan may come in several threads.
        self._lock = threading.Lock()

    def start(self) -> str | None:
        """Start; None, or why the server should not start. Returns at once and never raises."""
        self._has_begun = True
        refusal = self._hold.start()
        if refusal is None:
            self._hold.heed_sigterm(takes_default=True)
        return refusal if self._required else None

    def start_late(self) -> None:
        """At a request: start now if the server has never spoken of a lifespan.

        Raises `NotStarted` when that cannot be and is required: such a site is not served.
        """
        if not self._has_begun:
            with self._lock:
                is_first, self._has_begun = not self._has_begun, True
            if is_first:
                self._start_without_lifespan()
        if self._required and (refusal := self._hold.refusal):
            raise _not_started(refusal)

    async def stop(self) -> None:
        """Stop in an orderly way, without blocking the loop on which requests may still be served."""
        await asyncio.to_thread(self._hold.stop)

    def stop_fast(self) -> None:
        """Give back what has not begun and go, if `stop` was never called."""
        self._hold.stop_fast()

    def _start_without_lifespan(self) -> None:
        if self._hold.is_running_already:
            return
        _logger.warning(
            "The server speaks no ASGI lifespan to DjQueueLifespan (daphne, or a mounted application): "
            "jobs run from the first request on. Start dj_queue from the outermost application.",
            extra={"event": "lifespan.missing"},
        )
        if self._hold.start() is None:
            # Nobody will say when the server ends.
            self._hold.heed_sigterm(stops=True, takes_default=True)
            self._hold.stop_at_exit()


def _not_started(refusal: str) -> Exception:
    from dj_queue.exceptions import NotStarted

    return NotStarted(f"dj_queue could not be started in this server: {refusal}")


class _Conversation:
    """What the wrapped application hears and says of its lifespan, with the runtime in between."""

    def __init__(self, runtime: _Runtime, receive: Receive, send: Send) -> None:
        self.has_begun = False
        self._runtime = runtime
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        self.has_begun = True
        message = await self._receive()
        if message["type"] == "lifespan.shutdown":
            # Before the application: what it closes may be what a job is using.
            await self._runtime.stop()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            # After the application: jobs may need what it has opened.
            refusal = self._runtime.start()
            if refusal is not None:
                await self._send({"type": "lifespan.startup.failed", "message": refusal})
                return
        await self._send(message)


async def _speak_lifespan(runtime: _Runtime, receive: Receive, send: Send) -> None:
    """Serve the protocol for an application that does not."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            refusal = runtime.start()
            if refusal is None:
                await send({"type": "lifespan.startup.complete"})
            else:
                await send({"type": "lifespan.startup.failed", "message": refusal})
        elif message["type"] == "lifespan.shutdown":
            await runtime.stop()
            await send({"type": "lifespan.shutdown.complete"})
            return
